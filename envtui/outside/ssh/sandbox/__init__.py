"""What holds a read on a host: no_new_privs, Landlock, an allow-list of system calls, limits, and an end for all it started.

Sent inline with each read to any Linux with python3; nothing is installed there. Knows nothing of SSH.
"""
