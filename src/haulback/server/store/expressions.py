"""Parts of SQL statements: names for types, and members of JSON columns on both databases."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

Column = sa.Column[object]
Expression = sa.ColumnElement[Any]
Condition = sa.ColumnElement[bool]
Row = sa.Row[object]
Select = sa.Select[object]


def text_in(sql: sa.Connection, column: Column, name: str) -> sa.ColumnElement[str]:
    """A text member of a JSON column."""
    if sql.dialect.name == "postgresql":
        return sa.type_coerce(sa.cast(column, postgresql.JSONB)[name].astext, sa.String)
    return sa.func.json_extract(column, f"$.{name}", type_=sa.String)


def number_in(sql: sa.Connection, column: Column, name: str) -> sa.ColumnElement[int]:
    """An integer member of a JSON column; -1 for an absent member on both databases."""
    found = sa.cast(text_in(sql, column, name), sa.BigInteger)
    return sa.func.coalesce(found, -1)


def without_member(sql: sa.Connection, column: Column, name: str) -> Expression:
    """The text of a JSON column without a member."""
    if sql.dialect.name == "postgresql":
        return sa.cast(sa.cast(column, postgresql.JSONB).op("-")(sa.cast(name, sa.Text)), sa.Text)
    return sa.func.json_remove(column, f"$.{name}")
