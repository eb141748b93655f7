"""The machine's own clock and randomness, behind the Clock port."""

from __future__ import annotations

import asyncio
import os
import time

# Boot time that counts suspend, so that a closed laptop's grant does not get longer. Linux names it; macOS's monotonic
# clock counts suspend already.
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """Wall time can jump; boot time cannot. Both in whole milliseconds."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        return time.clock_gettime_ns(_BOOT) // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def randomness(self, count: int) -> bytes:
        """`count` bytes from the operating system, good enough for keys and nonces."""
        return os.urandom(count)
