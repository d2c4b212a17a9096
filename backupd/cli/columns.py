"""Columns of text, each as wide as it must be. Nothing is cut off: half an id is of no use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest

from rich.text import Text

_GAP = "  "

Cell = str | Text


def columns(titles: Sequence[str], rows: Iterable[Sequence[Cell]], *, right: Collection[str] = ()) -> Text:
    """Set `rows` under `titles`, those of the columns named in `right` against their right edge."""
    header = [Text(title, style="dim") for title in titles]
    lines = [header, *([_text(cell) for cell in row] for row in rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip_longest(*lines, fillvalue=Text())]
    aligned = ["right" if title in right else "left" for title in titles]
    return Text("\n").join(_line(line, widths, aligned) for line in lines)


def _line(cells: Sequence[Text], widths: Sequence[int], aligned: Sequence[str]) -> Text:
    line = Text()
    for cell, width, side in zip(cells, widths, aligned, strict=True):
        gap = " " * (width - cell.cell_len)
        line.append_text(Text.assemble(*((gap, cell) if side == "right" else (cell, gap)), _GAP))
    line.rstrip()
    return line


def _text(cell: Cell) -> Text:
    return Text(cell) if isinstance(cell, str) else cell
