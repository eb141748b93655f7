"""Colours as tokens: four tones of text, one accent for each environment's place, colour for state and nothing else.

Every pair of text and ground keeps 4.5:1 (WCAG AA), checked by a test. Words and border shapes say the same as colours.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import asdict
from textual.theme import Theme


class Palette(msgspec.Struct, frozen=True):
    """A theme's tokens as #rrggbb. `first`, `between`, `last`: the environments along the order of promotion."""

    ground: str
    panel: str
    line: str
    text: str
    dim: str
    label: str
    good: str
    wait: str
    bad: str
    send: str
    first: str
    between: str
    last: str
    dark: bool = True


PALETTES: dict[str, Palette] = {
    "envtui-dark": Palette(
        ground="#101318", panel="#161a21", line="#2a303b", text="#d7dce4", dim="#9aa4b4", label="#8a95a6",
        good="#4cb782", wait="#e0a83f", bad="#f0616d", send="#6ea8fe",
        first="#4cb782", between="#e0a83f", last="#f0616d",
    ),
    "envtui-light": Palette(
        ground="#fbfbf9", panel="#f0f1ee", line="#c9ccd1", text="#1d2229", dim="#4b5563", label="#596272",
        good="#17693f", wait="#7d5500", bad="#b3202f", send="#1a53b8",
        first="#17693f", between="#7d5500", last="#b3202f", dark=False,
    ),
    "envtui-contrast": Palette(
        ground="#000000", panel="#0b0b0b", line="#666666", text="#ffffff", dim="#dcdcdc", label="#c4c4c4",
        good="#5cff9d", wait="#ffd75e", bad="#ff8a8a", send="#9cc7ff",
        first="#5cff9d", between="#ffd75e", last="#ff8a8a",
    ),
    "envtui-colour-blind": Palette(
        ground="#101318", panel="#161a21", line="#2a303b", text="#d7dce4", dim="#9aa4b4", label="#8a95a6",
        good="#56b4e9", wait="#f0e442", bad="#e69f00", send="#cc99c9",
        first="#56b4e9", between="#f0e442", last="#e69f00",
    ),
}  # fmt: skip
"""By theme name; the first is the default. The colour-blind one uses Okabe and Ito's colours."""


def theme(name: str) -> Theme:
    """The Textual theme of a palette."""
    p = PALETTES[name]
    tokens = {key: value for key, value in asdict(p).items() if isinstance(value, str)}
    return Theme(
        name=name,
        primary=p.send,
        secondary=p.dim,
        accent=p.send,
        foreground=p.text,
        background=p.ground,
        surface=p.ground,
        panel=p.panel,
        success=p.good,
        warning=p.wait,
        error=p.bad,
        dark=p.dark,
        variables={f"tone-{key}": value for key, value in tokens.items()}
        | {
            "input-cursor-background": p.text,
            "input-selection-background": p.line,
            "block-cursor-background": p.line,
            "block-cursor-foreground": p.text,
            "scrollbar": p.line,
            "scrollbar-background": p.ground,
            "scrollbar-hover": p.label,
            "scrollbar-active": p.label,
        },
    )


TONE = {"light": "$tone-first", "double": "$tone-between", "heavy": "$tone-last"}
"""The colour token of an environment's shape."""
