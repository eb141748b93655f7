"""Python's collector of cycles: when it may look through what lives.

While a process starts, only things that stay are made; with Python's own thresholds the collector looks at all of them again
and again, a tenth of the time that importing takes. And one drawing makes 10,000 short-lived objects, so it would look again
in the middle of drawings: pauses of 30 to 90 ms in which no key is handled.
"""

from __future__ import annotations

import gc

THRESHOLDS = (50_000, 20, 100)


def pause() -> None:
    """Nothing is collected until `settle`."""
    gc.disable()


def settle() -> None:
    """Everything is imported: what lives now is never looked at again, what comes is looked at seldom."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
