"""The innermost ring: values and what can be said of them without touching the world.

Lives here: the file formats as types (`environment`, `runbook`), acts and plans (`act`), events (`events`),
access objects (`access`), canonical bytes, text cleaning, redaction, errors, and the ports to the outside.
May import: the standard library and msgspec. Nothing here reads a clock, a file or a socket.
"""
