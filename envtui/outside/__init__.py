"""The ways outside, one port each: trees of files, SSH, SQL, HTTP, signatures, trackers, secrets, the ledger, the spool.

May import: core, and the library that each is about. They do not know each other.
"""
