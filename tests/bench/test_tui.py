"""The screens' speed on a real pseudo-terminal: the first frame against the smallest Textual app, keys under a flood.

Repeat: python -m pytest tests/bench/test_tui.py -s
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "functional"))

from test_tui_terminal import KIT, ROOT, Terminal
from tui_kit import grow

ROUNDS = 7
FLOOD = 200 * 1000 * 1000
KEYS = 100
SMALLEST = """
from textual.app import App
from textual.widgets import Static
class A(App):
    ENABLE_COMMAND_PALETTE = False
    def compose(self): yield Static("PRODUCTION")
A().run()
"""
FLOODED = """
import asyncio, json, sys, time
from pathlib import Path
import tui_kit
from envtui.core.ports import Reading
from envtui.outside.ssh.exchange import GATHER
from envtui.tui.screens.run import RunScreen

folder, size = Path(sys.argv[1]), int(sys.argv[2])
line = b"2026-11-22T18:00:00Z INFO worker-7 request id=abcdef0123456789 path=/api/v1/items status=200 " + b"x" * 6
chunk = (line + b"\\n") * 655
handled, came = [], []

async def read(self, act, sink):
    def flood():
        began = time.perf_counter()
        for _ in range(size // len(chunk)):
            sink.out(chunk)
            time.sleep(GATHER)
        came.append(time.perf_counter() - began)
    await asyncio.get_running_loop().run_in_executor(None, flood)
    return Reading(exit=0, stdout=b"")

def noted(self, by):
    handled.append(time.perf_counter_ns())
    select(self, by)

select = RunScreen.action_select
RunScreen.action_select = noted
tui_kit.ScriptedReader.read = read
code = tui_kit.main(folder, "production", "403")
(folder / "handled.json").write_text(json.dumps({"handled": handled, "seconds": came}))
"""


def variables() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    return {**clean, "PYTHONPATH": f"{ROOT}:{KIT.parent}", "TERM": "xterm-256color", "COLORTERM": "truecolor"}


def first_frame(argv: list[str], more: dict[str, str], said: bytes = b"PRODUCTION") -> float:
    """Seconds from the start of the process until `said` is on the screen."""
    began = time.perf_counter()
    shown = Terminal([sys.executable, *argv], {**variables(), **more}, (120, 40))
    while said not in shown.raw:
        assert shown.read(20), shown.raw[-2000:]
    took = time.perf_counter() - began
    os.kill(shown.pid, 9)
    os.waitpid(shown.pid, 0)
    os.close(shown.fd)
    return took


def test_the_first_frame_takes_at_most_one_and_a_half_smallest_textual_apps(tmp_path: Path) -> None:
    more = grow(tmp_path)
    smallest, ours, cards = [], [], []
    for _ in range(ROUNDS):
        smallest.append(first_frame(["-c", SMALLEST], more))
        ours.append(first_frame(["-m", "envtui"], more))
        cards.append(first_frame(["-m", "envtui"], more, b"check passed"))
    ratio = statistics.median(ours) / statistics.median(smallest)
    print(f"\nfirst frame: {statistics.median(ours) * 1000:.0f} ms, {ratio:.2f} x the smallest Textual app")
    print(f"with every tree and ledger read and checked: {statistics.median(cards) * 1000:.0f} ms")
    assert ratio <= 1.5


def test_keys_are_handled_while_200_megabytes_stream_in(tmp_path: Path) -> None:
    shown = Terminal([sys.executable, "-c", FLOODED, str(tmp_path), str(FLOOD)], variables(), (120, 40))
    shown.until("/ find")
    shown.keys("\r")
    shown.until("starts the run")
    shown.keys("\r")
    shown.until("does one")
    os.write(shown.fd, b"r")
    shown.until("stops after this act")
    sent = []
    for _ in range(KEYS):
        sent.append(time.perf_counter_ns())
        os.write(shown.fd, b"j")
        due = time.perf_counter() + 0.05
        while (left := due - time.perf_counter()) > 0:
            shown.read(left)
    deadline = time.monotonic() + 120
    while b"bye" not in shown.raw and time.monotonic() < deadline:
        shown.read(0.2)
        if "running" not in shown.screen:
            break
    os.write(shown.fd, b"q")
    shown.end()
    os.close(shown.fd)
    told = json.loads((tmp_path / "handled.json").read_text())
    waits = sorted((done - begun) / 1e6 for begun, done in zip(sent, told["handled"], strict=False))
    assert len(waits) == KEYS
    p50, p99 = waits[KEYS // 2], waits[int(KEYS * 0.99) - 1]
    seconds = max(told["seconds"])
    print(f"\nkeys under a flood of {FLOOD / 1e6 / seconds:.0f} MB/s: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    assert p99 <= 50
