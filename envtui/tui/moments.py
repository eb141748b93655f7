"""Times for people: relative where they are for feeling, absolute (local and UTC) where they are for acting."""

from __future__ import annotations

import datetime as dt
import time


def ago(ms: int) -> str:
    """`3 min ago`; '' for no time."""
    if not ms:
        return ""
    seconds = max(0, time.time() - ms / 1000)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def moment(ms: int) -> str:
    """`14:32:05 (13:32 UTC)`; the date too when it is not today."""
    local = dt.datetime.fromtimestamp(ms / 1000).astimezone()
    utc = local.astimezone(dt.UTC)
    day = "" if local.date() == dt.date.today() else f"{local:%Y-%m-%d} "
    return f"{day}{local:%H:%M:%S} ({utc:%H:%M} UTC)"
