"""The second ring: pure functions of values. What would happen (`plan`), what comes next (`decide`), what happened (`run`),
who may write (`grants`), what a file may say (`isolation`, `lint`).

May import: core. Nothing here waits, reads a clock, a file or a socket.
"""
