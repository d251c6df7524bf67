"""Names for the parts of SQL statements whose value types differ from call to call."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

Column = sa.Column[Any]
Expression = sa.ColumnElement[Any]
Condition = sa.ColumnElement[bool]
Row = sa.Row[Any]
Select = sa.Select[Any]
