"""Output of commands: tables for users, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from haulback import units
from haulback.wire import JsonObject

if TYPE_CHECKING:
    from rich.console import Console

Output = Annotated[Literal["table", "json"], Parameter(name=["-o", "--output"])]
Column = tuple[str, Callable[[JsonObject], str]]


def show(rows: Iterable[Any], columns: Sequence[Column], output: Output) -> None:
    """Print rows under headings, or as one JSON array."""
    found = msgspec.to_builtins(list(rows))
    if output == "json":
        dump(found)
        return
    from rich.table import Table

    table = Table(*(name for name, _ in columns), box=None, pad_edge=False)
    for row in found:
        table.add_row(*(cell(row) for _, cell in columns))
    console().print(table)


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
    return name, lambda row: _when(row.get(name))


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "" if value is None else str(value)


def _name(value: JsonObject) -> str:
    return str(value.get("name") or value.get("guid", ""))


def size(name: str) -> Column:
    """A column for bytes."""
    return name, lambda row: units.size(row[name]) if name in row else ""


def _when(ms: int | None) -> str:
    return datetime.fromtimestamp(ms / 1000).strftime("%Y-%m-%d %H:%M:%S") if ms else ""


# Columns that hypervisors and destinations share.
PLACE = (text("guid"), text("name"), text("driver"), text("path"), named("node"))
