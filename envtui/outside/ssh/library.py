"""The part of paramiko that is used here: connections, channels, keys, agents.

Its `__init__` loads more of SFTP and asks importlib.metadata for its version; its reader of ssh_config loads `invoke`, and that a
second YAML and unittest.mock: together more than half of the time that importing it takes.
"""

from __future__ import annotations

import sys

from envtui.outside.lean import lean, without

lean("paramiko", __version__="envtui")  # what a server's log shows: SSH-2.0-paramiko_envtui

with without("invoke"):  # for one directive of ssh_config, which is never read here
    from paramiko.channel import Channel
    from paramiko.common import cMSG_CHANNEL_REQUEST
    from paramiko.ecdsakey import ECDSAKey
    from paramiko.ed25519key import Ed25519Key
    from paramiko.message import Message
    from paramiko.pkey import PKey, UnknownKeyType
    from paramiko.rsakey import RSAKey
    from paramiko.ssh_exception import (
        AuthenticationException,
        ChannelException,
        IncompatiblePeer,
        PasswordRequiredException,
        SSHException,
    )
    from paramiko.transport import SecurityOptions, Transport

# What it looks for in the package itself when it reads a key.
_READ = {kind.__name__: kind for kind in (ECDSAKey, Ed25519Key, RSAKey)}
vars(sys.modules["paramiko"]).update(_READ, key_classes=[*_READ.values()])

__all__ = [
    "AuthenticationException",
    "Channel",
    "ChannelException",
    "IncompatiblePeer",
    "Message",
    "PKey",
    "PasswordRequiredException",
    "SSHException",
    "SecurityOptions",
    "Transport",
    "UnknownKeyType",
    "cMSG_CHANNEL_REQUEST",
]
