"""Tables as text and in Markdown, with aligned columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    width: int | None = None,
    keys: int = 1,
) -> str:
    """Returns a Markdown table whose columns are aligned in plain text, too.

    Args:
      header: the titles of the columns.
      rows: the cells of each row.
      left: the number of leading columns to align to the left; the others are aligned to the right.
      width: the largest number of characters in a line. A wider table is split into several tables
        that begin with the same columns. None for no limit.
      keys: the number of leading columns that each of these tables begins with.
    """
    cells = [[cell.replace('|', r'\|') for cell in row] for row in [header, *rows]]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    tables = []
    for columns in _groups([size + 3 for size in widths], width and width - 1, keys):
        rule = ['-' * widths[i] if i < left else '-' * (widths[i] - 1) + ':' for i in columns]
        lines = [_aligned(row, columns, widths, left) for row in cells]
        lines.insert(1, rule)
        tables.append('\n'.join(f'| {" | ".join(line)} |' for line in lines))
    return '\n\n'.join(tables)


def text_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    width: int | None = None,
) -> str:
    """Returns a table of plain text with two spaces between its columns.

    Args:
      header: the titles of the columns.
      rows: the cells of each row.
      left: the number of leading columns to align to the left; the others are aligned to the right.
      width: the largest number of characters in a line. A wider table is split into several tables
        that begin with the same first column. None for no limit.
    """
    cells = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    tables = []
    for columns in _groups([size + 2 for size in widths], width and width + 2, keys=1):
        lines = ('  '.join(_aligned(row, columns, widths, left)).rstrip() for row in cells)
        tables.append('\n'.join(lines))
    return '\n\n'.join(tables)


def _aligned(
    row: Sequence[str], columns: Sequence[int], widths: Sequence[int], left: int
) -> list[str]:
    return [row[i].ljust(widths[i]) if i < left else row[i].rjust(widths[i]) for i in columns]


def _groups(widths: Sequence[int], limit: int | None, keys: int) -> list[list[int]]:
    """Returns the columns of each table: all of them, or the first ones and as many as fit."""
    if limit is None or sum(widths) <= limit:
        return [list(range(len(widths)))]
    groups: list[list[int]] = []
    for i in range(keys, len(widths)):
        if groups and sum(widths[j] for j in groups[-1]) + widths[i] <= limit:
            groups[-1].append(i)
        else:
            groups.append([*range(keys), i])
    return groups
