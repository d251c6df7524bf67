"""Rows as records and records as rows: the columns of a table are the members of a struct."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
import sqlalchemy as sa

from haulback.errors import Conflict, NotFound
from haulback.wire import JsonObject

T = TypeVar("T", bound=msgspec.Struct)
_NOUNS = {
    "vm-backup": "policy",
    "vm-snapshot": "snapshot policy",
    "Backup Destination": "destination",
}
# A column holds members of these types as they are; JSON text of all other members.
_SCALARS = (str, int, float, bool, bytes, type(None), Enum)
# Marks a text that is stored as JSON text, as versions before the mark stored it.
QUOTED = msgspec.Meta(description="stored as JSON text")


def add(connection: sa.Connection, table: sa.Table, record: msgspec.Struct, **more: object) -> None:
    """Insert a hypervisor, a destination or a record.  Raises Conflict for a name in use."""
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(table).values({**row_of(record, table), **more}))
    except sa.exc.IntegrityError:
        raise taken(getattr(record, "name", ""), _noun(record)) from None


def change(connection: sa.Connection, table: sa.Table, record: msgspec.Struct) -> None:
    """Write a record that was read in this transaction.  Raises Conflict for a name in use."""
    values = row_of(record, table)
    guid = values.pop("guid")
    try:
        with connection.begin_nested():
            connection.execute(sa.update(table).where(table.c.guid == guid).values(values))
    except sa.exc.IntegrityError:
        raise taken(getattr(record, "name", ""), _noun(record)) from None


def taken(name: str, noun: str) -> Conflict:
    """The error for a name that another record of the type has."""
    return Conflict(
        f"name: {name!r} is taken by another {noun}; choose another name, or rename or remove that "
        f"{noun}",
        field="name",
    )


def _noun(record: msgspec.Struct) -> str:
    kind = str(getattr(record, "kind", "")) or re.sub(
        "(?<!^)([A-Z])", r" \1", type(record).__name__
    )
    return _NOUNS.get(kind) or kind.replace("-", " ").lower()


def one(sql: sa.Connection, table: sa.Table, kind: type[T], guid: str, what: str) -> T:
    """A record by its guid.  Raises NotFound."""
    for found in records(sql, sa.select(table).where(table.c.guid == guid), kind):
        return found
    raise NotFound(f"there is no {what} {guid}", guid=guid)


def records(sql: sa.Connection, query: sa.Executable, kind: type[T]) -> list[T]:
    """The rows of a query as records."""
    rows = sql.execute(query)
    names = [str(name) for name in rows.keys()]  # noqa: SIM118 - not a mapping
    plain = [(place, name) for place, name in enumerate(names) if name in _plain(kind)]
    decoded = [(place, name) for place, name in enumerate(names) if name in _decoders(kind)]
    decoders = _decoders(kind)
    result = []
    for row in rows:
        members = {name: row[place] for place, name in plain}
        for place, name in decoded:
            members[name] = decoders[name](row[place])
        result.append(kind(**members))
    return result


@cache
def _plain(kind: type[msgspec.Struct]) -> frozenset[str]:
    """Members whose columns hold their values."""
    fields = msgspec.structs.fields(kind)
    return frozenset(field.name for field in fields if is_scalar(field.type))


@cache
def _decoders(kind: type[msgspec.Struct]) -> dict[str, Callable[[str], object]]:
    """Members whose columns hold JSON text, with the decoder of the member's type."""
    fields = msgspec.structs.fields(kind)
    coded = [field for field in fields if not is_scalar(field.type)]
    return {field.name: msgspec.json.Decoder(field.type).decode for field in coded}


def is_scalar(form: Any) -> bool:
    """Whether a column holds values of this type as they are, without JSON."""
    if get_origin(form) is Annotated:
        return QUOTED not in form.__metadata__ and is_scalar(form.__origin__)
    if get_origin(form) in (Union, UnionType):
        return all(map(is_scalar, get_args(form)))
    return isinstance(form, type) and issubclass(form, _SCALARS)


def row_of(record: msgspec.Struct, table: sa.Table) -> JsonObject:
    """A record as the columns of a row."""
    encode, plain = msgspec.json.encode, _plain(type(record))
    return {
        name: value if name in plain else encode(value).decode()
        for name, value in msgspec.structs.asdict(record).items()
        if name in _columns(table)
    }


def json_text(value: object) -> str:
    """A value as the JSON text of a column."""
    return msgspec.json.encode(value).decode()


@cache
def _columns(table: sa.Table) -> frozenset[str]:
    return frozenset(table.c.keys())
