"""Labels in a narrow column, values that wrap under themselves and never under the label."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from textual.content import Content
from textual.css.styles import RulesMap
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual

if TYPE_CHECKING:
    from textual.visual import RenderOptions

NARROWEST = 16
"""Columns below which a value goes under its label after all."""


class Row(msgspec.Struct, frozen=True):
    """`label` stands once, before the first line of `value`; the others are indented by its width."""

    label: Content
    value: Content


def row(label: str, value: str | Content, tone: str = "$tone-text", *, label_tone: str = "$tone-label") -> Row:
    """A row of text that is clean already."""
    said = value if isinstance(value, Content) else Content.assemble((value.rstrip("\n"), tone))
    return Row(Content.assemble((label, label_tone)), said)


def line(*parts: str | tuple[str, str]) -> Row:
    """A row without a label: it wraps to the full width."""
    return Row(Content(""), Content.assemble(*parts))


BLANK = line("")


class Rows(Visual):
    """What a `Static` shows: rows, wrapped for the width that there is."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = tuple(rows)

    def wrapped(self, width: int) -> Content:
        """All rows as one text of at most `width` columns."""
        lines: list[Content] = []
        for one in self.rows:
            indent = one.label.cell_length
            if width - indent < min(NARROWEST, one.value.cell_length):
                indent = 0
                if one.label.plain.strip():
                    lines.append(one.label)
            label = one.label if indent else Content("")
            for at, part in enumerate(one.value.wrap(max(1, width - indent)) or [Content("")]):
                lines.append((label if at == 0 else Content(" " * indent)) + part)
        return Content("\n").join(lines)

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        return self.wrapped(width).render_strips(width, height, style, options)

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        return max((r.label.cell_length + r.value.cell_length for r in self.rows), default=0)

    def get_height(self, rules: RulesMap, width: int) -> int:
        return self.wrapped(width).plain.count("\n") + 1 if width else 0


def paragraphs(text: str) -> str:
    """Prose as it is meant: lines of one paragraph belong together, an empty line parts two."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))
