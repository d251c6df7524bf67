"""A read transaction of the store, within the projects that a caller sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from haulback.server.scope import EVERYTHING, Scope
from haulback.server.services.app import App
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection


class Reading:
    """Read access within one transaction; a subclass adds the lists of its noun."""

    def __init__(self, sql: Connection, scope: Scope) -> None:
        self._sql, self.scope = sql, scope
        self.catalogue = SqlCatalogue(sql, scope)

    @classmethod
    @contextmanager
    def of(cls, app: App, scope: Scope = EVERYTHING) -> Iterator[Self]:
        """A read transaction, open for the duration of the context."""
        with app.store.read() as sql:
            yield cls(sql, scope)
