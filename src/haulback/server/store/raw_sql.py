"""Frequent statements, sent directly to the database driver; other statements use SQLAlchemy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.wire import JsonMapping

_SEVERAL = 3  # rows up to which PostgreSQL gets a message for each
_FEW = 20  # rows up to which single statements are faster than a bulk statement
_NAMED = re.compile(r"(?<![:\w]):([a-z_]+)")

Values = tuple[Any, ...]  # values of a row, in the order of the statement's columns
Cursor = Any  # a cursor of either database driver


class Statement:
    """A statement with `:name` parameters; a locking clause is added if `lock` is set and the
    database has one.
    """

    __slots__ = ("_postgresql", "_sqlite")

    def __init__(self, text: str, lock: str = "") -> None:
        self._sqlite = text
        self._postgresql = _NAMED.sub(r"%(\1)s", text.replace("%", "%%")) + lock

    def _text(self, sql: sa.Connection) -> str:
        return self._sqlite if sql.dialect.name == "sqlite" else self._postgresql

    def rows(self, sql: sa.Connection, **params: object) -> list[Values]:
        """All rows."""
        cursor: Cursor = sql.connection.cursor()
        cursor.execute(self._text(sql), params)
        found: list[Values] = cursor.fetchall()
        return found

    def row(self, sql: sa.Connection, **params: object) -> Values | None:
        """The first row, or None."""
        found = self.rows(sql, **params)
        return found[0] if found else None

    def run(self, sql: sa.Connection, **params: object) -> int:
        """Execute the statement; returns the number of changed rows."""
        cursor: Cursor = sql.connection.cursor()
        cursor.execute(self._text(sql), params)
        count: int = cursor.rowcount
        return count

    def many(self, sql: sa.Connection, params: Iterable[JsonMapping]) -> int:
        """Execute the statement with many parameters; returns the number of changed rows."""
        params = list(params)
        if len(params) == 1:
            return self.run(sql, **params[0])
        cursor: Cursor = sql.connection.cursor()
        cursor.executemany(self._text(sql), params)
        count: int = cursor.rowcount
        return count


class ManyRows:
    """A change of many rows, each with the parameters of `each`.

    PostgreSQL gets the rows as one parameter of `together`, the JSON `:rows`: that takes half of
    the processor time that messages for each row take.
    """

    def __init__(self, each: str, together: str) -> None:
        self._each, self._together = Statement(each), Statement(together)

    def __call__(self, sql: sa.Connection, rows: Sequence[JsonMapping]) -> int:
        """Change the rows; returns the number of changed rows."""
        if len(rows) <= _SEVERAL or sql.dialect.name == "sqlite":
            return self._each.many(sql, rows) if rows else 0
        return self._together.run(sql, rows=msgspec.json.encode(rows).decode())


class Insert:
    """Insertion of rows into some columns of a table; PostgreSQL copies many rows at once."""

    def __init__(self, table: str, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        names = ", ".join(self._columns)
        places = ", ".join(f":{name}" for name in self._columns)
        self._one = Statement(f"INSERT INTO {table} ({names}) VALUES ({places})")
        self._copy = f"COPY {table} ({names}) FROM STDIN"

    def __call__(self, sql: sa.Connection, rows: Iterable[JsonMapping]) -> None:
        """Add rows; the database stores the first rows while later rows are computed."""
        source = iter(rows)
        few = list(islice(source, _FEW + 1))
        if len(few) <= _FEW or sql.dialect.name == "sqlite":
            if few:
                self._one.many(sql, chain(few, source))
            return
        cursor: Cursor = sql.connection.cursor()
        with cursor.copy(self._copy) as copy:
            for row in chain(few, source):
                copy.write_row([row[name] for name in self._columns])
