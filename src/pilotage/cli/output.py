"""What commands print: tables and colour on a terminal, plain text when piped, one JSON value with --json.

What draws is imported only when it draws: a gateway worker is started by a command too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "OUT_FILE",
    "as_json",
    "console",
    "errors_console",
    "fitting_widths",
    "json_option",
    "progress_bar",
    "show_facts",
    "show_table",
    "step_bar",
]

_GAP = 2


class _OutFile(click.Path):
    """A file to write. That it cannot be written is said before the work that fills it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"there is no folder {str(path.parent)!r} to write {path.name!r} into.", param, ctx)
        if not os.access(path.parent, os.W_OK):
            self.fail(f"the folder {str(path.parent)!r} may not be written.", param, ctx)
        return path


OUT_FILE = _OutFile(dir_okay=False, writable=True, path_type=Path)
"""The type of an option that names a file to write."""

json_option: Callable[[Any], Any] = click.option("--json", "json_", is_flag=True, help="Print one JSON value.")


def console() -> Console:
    """Standard output; plain and never wrapped when it is not a terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def errors_console() -> Console:
    """Standard error, where progress goes."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on standard error while the context lasts, moved by calls with (done, all or None where nobody knows).

    There is none when standard error is no terminal.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors_console(), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def step_bar(what: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error while the context lasts, moved by calls with (the step that begins, share done)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=errors_console(), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda step, share: bar.update(task, completed=share, description=step)


def as_json(value: Any) -> None:
    """Print a JSON value on one line."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """Print a table: drawn on a terminal, tab-separated with a header line when piped.

    A terminal too narrow for a table of whole words gets each row as names and values, one after the other.
    """
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        click.echo("\n".join("\t".join(row) for row in [list(columns), *texts]))
        return
    from rich.table import Table
    from rich.text import Text

    screen = console()
    widths = fitting_widths([list(columns), *texts], screen.width)
    if widths is None:
        click.echo("\n".join(filter(None, [title, *(_flowing(columns, row, screen.width) for row in texts)])))
        return
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(Text(column), width=width, overflow="fold")
    for row in texts:
        table.add_row(*map(Text, row))
    screen.print(table)
    if not rows:
        click.echo("nothing")


def fitting_widths(rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """A width for each column, so that the table is at most so wide and no word is broken; None when there is none."""
    columns = list(zip(*rows, strict=True))
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]
    least = [max((len(word) for cell in column for word in cell.split()), default=0) for column in columns]
    room = width - _GAP * (len(columns) - 1)
    if sum(least) > room:
        return None
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda at: (widths[at] > least[at], widths[at]))
        widths[widest] -= 1
    return widths


def _flowing(columns: Sequence[str], row: Sequence[str], width: int) -> str:
    """A row as lines of names and values; every line but the first is indented."""
    lines, used = [""], 0
    for name, value in zip(columns, row, strict=True):
        if not value:
            continue
        size = len(name) + 1 + len(value)
        if used and used + _GAP + size > width:
            lines.append("")
            used = 0
        gap = " " * (_GAP if used or len(lines) > 1 else 0)
        lines[-1] += f"{gap}{click.style(name, dim=True)} {value}"
        used += len(gap) + size
    return "\n".join(lines)


def show_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Print names and values in two columns."""
    width = max((len(name) for name, _ in facts), default=0)
    for name, value in facts:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")
