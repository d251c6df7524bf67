"""Queries and early reports of one attempt to the server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Set
from contextlib import suppress

from haulback.contract.catalogue import CatalogueItem, CataloguePage, FoundBackup
from haulback.drivers.remote_set import RemoteSet
from haulback.errors import Unavailable
from haulback.node.server_client import ServerClient
from haulback.node.task_progress import TaskProgress
from haulback.work.context import Results


class AttemptServer:
    """The server's answers to attempt number `number` of the task `guid`."""

    def __init__(self, guid: str, number: int, progress: TaskProgress, link: ServerClient) -> None:
        self._guid, self._attempt = guid, f"{guid}-{number}"
        self._progress, self._link = progress, link

    def now_ms(self) -> int:
        return self._link.now_ms()

    def needed(self) -> Set[str]:
        return RemoteSet(
            lambda name: self._progress.call_server(lambda: bool(self._link.needed([name])))
        )

    def abandoned(self, names: Collection[str]) -> Set[str]:
        return frozenset(self._progress.call_server(lambda: self._link.abandoned(list(names))))

    def expected(self) -> Iterator[str]:
        after = ""
        while page := self._expected_page(after):
            yield from page
            after = page[-1]

    def catalogue(self) -> Iterator[CatalogueItem]:
        after = ""
        while True:
            page = self._catalogue_page(after)
            yield from page.items
            if not page.after:
                return
            after = page.after

    def _catalogue_page(self, after: str) -> CataloguePage:
        return self._progress.call_server(lambda: self._link.catalogue(self._guid, after))

    def found(self, backups: list[FoundBackup]) -> int:
        return self._progress.call_server(lambda: self._link.found(self._guid, backups))

    def _expected_page(self, after: str) -> list[str]:
        return self._progress.call_server(lambda: self._link.expected(self._guid, after))

    def pins(self, destination: str) -> Set[str]:
        found = self._progress.call_server(lambda: self._link.pins(destination))
        return frozenset(found) - {self._attempt}

    def type_changed(self, backup_type: str) -> None:
        self._progress.call_server(lambda: self._link.backup_type(self._attempt, backup_type))

    def note(self, results: Results) -> None:
        with suppress(Unavailable):  # the next report replaces this one
            self._link.results(self._attempt, results)
