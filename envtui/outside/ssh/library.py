"""paramiko, imported without what only its reader of ssh_config files needs: envtui never reads one.

For the directive `Match exec` alone paramiko imports `invoke`, and with it a second YAML, unittest.mock and a third of the
time. Without it paramiko works and says so where somebody uses that directive.
"""

from __future__ import annotations

import sys

_NOT_NEEDED = "invoke"

if _NOT_NEEDED in sys.modules:
    import paramiko
else:
    sys.modules[_NOT_NEEDED] = None  # type: ignore[assignment]  # Python's own way to say: not there
    try:
        import paramiko
    finally:
        del sys.modules[_NOT_NEEDED]

__all__ = ["paramiko"]
