"""Output of commands: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from haulback import units

Output = Annotated[Literal["table", "json"], Parameter(name=["-o", "--output"])]
Column = tuple[str, Callable[[dict[str, Any]], str]]


def show(rows: Iterable[Any], columns: Sequence[Column], output: Output) -> None:
    """Rows under headings, or one JSON array."""
    found = msgspec.to_builtins(list(rows))
    if output == "json":
        dump(found)
        return
    table = Table(*(name for name, _ in columns), box=None, pad_edge=False)
    for row in found:
        table.add_row(*(cell(row) for _, cell in columns))
    console().print(table)


def console() -> Console:
    """Standard output; wide enough for guids when nobody looks.

    Names of machines are printed as they are: brackets in them are no markup.
    """
    width = None if sys.stdout.isatty() else 200
    return Console(highlight=False, markup=False, width=width)


def dump(value: Any) -> None:
    """Readable JSON."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def text(name: str) -> Column:
    """A plain member, or several."""
    return name, lambda row: _plain(row.get(name))


def named(name: str) -> Column:
    """The name of an enum or a reference, or the guid of one that comes without."""
    return name, lambda row: _name(row.get(name) or {})


def moment(name: str) -> Column:
    """Epoch milliseconds in local time."""
    return name, lambda row: _when(row.get(name))


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "" if value is None else str(value)


def _name(value: dict[str, Any]) -> str:
    return str(value.get("name") or value.get("guid", ""))


def size(name: str) -> Column:
    """Bytes."""
    return name, lambda row: units.size(row[name]) if name in row else ""


def _when(ms: int | None) -> str:
    return datetime.fromtimestamp(ms / 1000).strftime("%Y-%m-%d %H:%M:%S") if ms else ""
