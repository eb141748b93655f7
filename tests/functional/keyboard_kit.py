"""A person's hands for Textual's pilot: keys that arrive in order, as fast as people type."""

from __future__ import annotations

import asyncio

from textual.events import Key
from textual.keys import _character_to_key
from textual.pilot import Pilot

GAP = 0.04
"""Seconds between two letters, as people type: the dialogs that ask for a word forget what comes faster."""


async def type_text(pilot: Pilot[int], text: str) -> None:
    """Type `text`. Returns when the screen has taken all of it and is at rest.

    Each letter is handled before the next one is typed. `pilot.press` waits besides that until the processor is idle,
    three times for each letter: most of the time of a test that types a sentence.
    """
    for letter in text:
        event = Key(letter if letter.isalnum() else _character_to_key(letter), letter)
        event.set_sender(pilot.app)
        assert pilot.app._driver is not None
        pilot.app._driver.send_message(event)
        await pilot._wait_for_screen()  # the app has passed it on
        await pilot._wait_for_screen()  # and the field has it
        await asyncio.sleep(GAP)
    await pilot.pause()
