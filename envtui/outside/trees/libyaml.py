"""PyYAML's parser in C and its events, without what PyYAML loads besides them: 15 of the 20 ms that importing it takes.

Of its reader in Python only the error is needed; the module itself compiles a pattern that takes as long as ten books.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from envtui.outside.lean import lean

lean("yaml")

from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
    StreamStartEvent,
)

__all__ = [
    "AliasEvent",
    "CParser",
    "DocumentStartEvent",
    "MappingEndEvent",
    "MappingStartEvent",
    "MarkedYAMLError",
    "ScalarEvent",
    "SequenceEndEvent",
    "StreamEndEvent",
    "StreamStartEvent",
    "YAMLError",
]

_NEEDED = ("tokens", "nodes", "scanner", "parser", "composer", "constructor", "emitter", "serializer", "representer")
_READER = "yaml.reader"


class ReaderError(YAMLError):
    """What the parser raises about bytes and characters."""

    def __init__(self, name: str, position: int, character: int | bytes, encoding: str, reason: str) -> None:
        super().__init__(f"{reason} at {position}")


def _c_parser() -> type[Any] | None:
    if _READER in sys.modules:  # somebody has all of PyYAML
        return _found()
    reader = ModuleType(_READER)
    reader.__dict__["ReaderError"] = ReaderError
    package = sys.modules["yaml"]
    package.__dict__["reader"] = sys.modules[_READER] = reader
    try:
        return _found()
    finally:  # whoever wants the true one gets it
        del sys.modules[_READER], package.__dict__["reader"]


def _found() -> type[Any] | None:
    try:
        for name in _NEEDED:
            import_module(f"yaml.{name}")
        found: type[Any] = import_module("yaml._yaml").CParser
    except ImportError:  # PyYAML without libyaml
        return None
    return found


CParser = _c_parser()
"""Bytes to events; None when PyYAML came without libyaml."""
