"""Output of commands: tables for users, JSON for programs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter

from haulback import units
from haulback.wire import JsonObject

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment
    from rich.table import Table

Output = Annotated[
    Literal["table", "json"], Parameter(name=["-o", "--output"], help="Form of the output.")
]
Column = tuple[str, Callable[[JsonObject], str]]
# Columns whose cells are sentences or times, which may be folded; all other cells may be input of
# another command, so they stay whole at any width of the terminal.
_FOLDED = re.compile(
    r"statusInfo|queueReason|contents|description|problem|reason|text|why|warnings|message|"
    r"\w*(Time|Since|At|Expire)|absentSince|created|expires|since|seen|modified|time|lastBackup|due|"
    r"how|how much"
)
_NARROW = 10  # characters to which a folded column may shrink
_GAP = 2  # characters between two columns


def show(rows: Iterable[object], columns: Sequence[Column], output: Output) -> None:
    """Print rows under headings, or as one JSON array."""
    records = msgspec.to_builtins(list(rows))
    if output == "json":
        dump(records)
        return
    print_cells(
        [name for name, _ in columns], [[cell(row) for _, cell in columns] for row in records]
    )


def print_cells(names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print a table in which no cell is cut; sentences and times are folded where needed."""
    from rich.cells import cell_len
    from rich.table import Table

    table, least, whole = Table(box=None, pad_edge=False), 0, 0
    for place, name in enumerate(names):
        widest = max([cell_len(name), *(_widest(line[place]) for line in cells)])
        is_folded = _FOLDED.fullmatch(name) is not None
        needed = min(widest, _NARROW) if is_folded else widest
        table.add_column(name, no_wrap=not is_folded, overflow="fold", min_width=needed)
        least, whole = least + needed + _GAP, whole + widest + _GAP
    for line in cells:
        table.add_row(*line)
    screen = console()
    # A terminal wraps long lines, and a file has any width, so no cell is cut.
    screen.width = max(screen.width, least if sys.stdout.isatty() else whole)
    print_table(screen, table)


def print_table(screen: Console, table: Table) -> None:
    """Print a table whose lines have no blanks at their ends."""
    from rich.segment import Segment, Segments

    lines = screen.render_lines(table, pad=False)
    printed = [segment for line in lines for segment in (*_trimmed(line), Segment.line())]
    screen.print(Segments(printed), crop=False, end="")


def _trimmed(line: list[Segment]) -> list[Segment]:
    """A line without the blanks at its end."""
    while line and not line[-1].text.strip():
        line.pop()
    if line:
        last = line.pop()
        line.append(last._replace(text=last.text.rstrip()))
    return line


def _widest(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.splitlines() or [""]))


def console() -> Console:
    """The console of standard output; wide enough for guids when it is not a terminal.

    Names of machines are printed unchanged: brackets in them are no markup.
    """
    from rich.console import Console

    width = None if sys.stdout.isatty() else 200
    return Console(highlight=False, markup=False, width=width)


def dump(value: object) -> None:
    """Print a value as indented JSON."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def text(name: str) -> Column:
    """A column for a plain member, or for a list."""
    return name, lambda row: _plain(row.get(name))


def named(name: str, member: str = "") -> Column:
    """A column for the name of an enum or a reference, or for the guid of a reference without a
    name; with `member` for such a member of the object `name`.
    """

    def value(row: JsonObject) -> str:
        shown = row.get(name) or {}
        return _name(shown.get(member) or {} if member else shown)

    return name, value


def moment(name: str) -> Column:
    """A column for epoch milliseconds, in local time."""
    return name, lambda row: when(row.get(name))


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):  # an enum or a reference
        return _name(value)
    return "" if value is None else str(value)


def _name(value: JsonObject) -> str:
    return str(value.get("name") or value.get("guid", ""))


def size(name: str) -> Column:
    """A column for bytes."""
    return name, lambda row: units.size(row[name]) if name in row else ""


def when(ms: int | None) -> str:
    """A time in epoch milliseconds as local time; empty for none."""
    try:
        return datetime.fromtimestamp(ms / 1000).strftime("%Y-%m-%d %H:%M:%S") if ms else ""
    except (ValueError, OverflowError, OSError):  # a file may have a year after 9999
        return f"{ms} ms"


# Columns that hypervisors and destinations share.
PLACE = (text("guid"), text("name"), text("driver"), text("path"), named("node"))
