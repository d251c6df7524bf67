"""Typed calls: request and response structs, and lists read page by page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypedDict, TypeVar, Unpack

import msgspec

from haulback.client import record_names
from haulback.client.api import Api, ApiResponse, HttpCall
from haulback.contract.losses import Losses
from haulback.errors import Malformed, NotFound, Unavailable
from haulback.ids import is_guid
from haulback.wire import JsonObject

T = TypeVar("T")
_GIVING_UP = 900.0  # seconds within which a server gives up an object with many backups
_NAMESAKES = 20  # machines of one name that are searched for records
_PAGE = 500  # rows per request when a whole list is read


class Listed(TypedDict, total=False):
    """Query parameters of every list.

    `size` is the number of rows per page, `filter` a search text, `orderBy` a member, `direction`
    asc or desc, `project_uuid` the guid of a project.
    """

    size: int
    filter: str
    orderBy: str
    direction: str
    project_uuid: str


class ListFilters(Listed, total=False):
    """Filters of lists other than the task list: guids, names, statuses, epoch ms, bytes."""

    hypervisor: str
    hypervisor_manager: str
    vm_backup: str
    protected_entity: str
    backup: str
    backup_destination: str
    backup_rule: str
    parent_backup: str
    nameLike: str
    only_mountable: bool
    finished_mount: bool
    node: str
    mode: str
    min_size: int
    status: list[str]
    location_status: list[str]
    type: str
    kind: list[str]
    subject: str
    from_: int
    to: int


@dataclass(frozen=True)
class Page(Generic[T]):
    """Page of a list: rows, the total number of rows, the cursor of the next page if any."""

    rows: list[T]
    total: int
    cursor: str | None = None
    counted: bool = True  # whether the server sent the total: a list without a total is one page


class Calls:
    """Typed requests over one `Api`.

    All methods raise the error that the server reports, and Unavailable when there is no response.
    """

    def __init__(self, api: Api) -> None:
        self.api = api

    def one(
        self,
        kind: type[T],
        method: str,
        path: str,
        body: object = None,
        query: JsonObject | None = None,
    ) -> T:
        """Send a request and decode its response as a `kind`."""
        return self.fetch(kind, HttpCall(method, path, body, query))

    def fetch(self, kind: type[T], call: HttpCall) -> T:
        """Send a request with headers or times of its own; decode its response as a `kind`."""
        return _read(self.api.ask(call._replace(query=spelled(call.query or {}))), kind)

    def done(
        self, method: str, path: str, body: object = None, query: JsonObject | None = None
    ) -> None:
        """Send a request and ignore its response body."""
        self.api.ask(HttpCall(method, path, body, spelled(query or {})))

    def page(self, kind: type[T], path: str, query: JsonObject) -> Page[T]:
        """Fetch one page of a list."""
        answer = self.api.ask(HttpCall("GET", path, query=spelled(query)))
        rows = _read(answer, list[kind])  # type: ignore[valid-type]
        total = answer.headers.get("x-total-count")
        cursor = answer.headers.get("x-next-cursor")
        return Page(rows, int(total or len(rows)), cursor, total is not None)

    def each(self, kind: type[T], path: str, query: JsonObject) -> Iterator[T]:
        """Yield all rows of a list, by cursor if the server sends one, else by page number."""
        sent = {"page": 0, "size": _PAGE, **query}
        seen = 0
        while True:
            page = self.page(kind, path, sent)
            yield from page.rows
            seen += len(page.rows)
            if page.cursor:
                sent = {**sent, "page": None, "cursor": page.cursor}
            elif not page.rows or not page.counted or "cursor" in sent or seen >= page.total:
                return
            else:
                sent["page"] += 1


def spelled(query: JsonObject) -> JsonObject:
    """Query parameters as the API spells them: `project_uuid` is project-uuid, `from_` is from.

    Parameters that are None or empty are dropped.
    """
    return {
        name.rstrip("_").replace("_", "-"): _plain(value)
        for name, value in query.items()
        if value is not None and value != ""
    }


def _plain(value: object) -> object:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def _read(answer: ApiResponse, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content or b"null", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        why = f"the response has an unknown format ({error}): is this a Haulback server?"
        raise Unavailable(why) from None


class ReadableCollection(Generic[T]):
    """A collection of the API that can be listed, read by guid and searched by name."""

    path: str = ""
    kind: ClassVar[Any]
    title: ClassVar[str] = "name"  # the member that contains the name of a record

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def page(self, page: int = 0, **query: Unpack[ListFilters]) -> Page[T]:
        """Fetch one page of 50 rows with the total; pages count from 0."""
        return self._calls.page(self.kind, self.path, {"page": page, "size": 50, **query})

    def all(self, **query: Unpack[ListFilters]) -> Iterator[T]:
        """Yield every record, fetched page by page."""
        return self._calls.each(self.kind, self.path, {**query})

    def get(self, guid: str) -> T:
        """Fetch one record by guid. Raises NotFound."""
        found: T = self._calls.one(self.kind, "GET", f"{self.path}/{guid}")
        return found

    def find(self, wanted: str) -> T:
        """Fetch the record with this guid, this beginning of a guid (six or more), or this name.

        Raises NotFound, or Malformed with the candidates if several records fit.
        """
        return self._of_guid(wanted) if is_guid(wanted) else self._named(wanted)

    def guid(self, wanted: str) -> str:
        """The guid of the record that `find` returns; a whole guid is returned unchecked."""
        return wanted if is_guid(wanted) else str(getattr(self.find(wanted), "guid"))  # noqa: B009

    @property
    def noun(self) -> str:
        """The noun of a record in messages."""
        return record_names.noun_of(self.path)

    def _of_guid(self, guid: str) -> T:
        try:
            return self.get(guid)
        except NotFound:
            raise record_names.missing(self.noun, guid) from None

    def _named(self, wanted: str) -> T:
        rows = self.all(filter=record_names.searched(self.noun, wanted))
        return record_names.chosen(rows, wanted, self.noun, self._name)

    def _name(self, row: T) -> str:
        return str(getattr(row, self.title, ""))


class DatedCollection(ReadableCollection[T]):
    """Records of machines, the newest first; `latest` and `latest:web` name the newest."""

    def find(self, wanted: str) -> T:
        """Fetch a record by guid, beginning of a guid, `latest`, `latest:MACHINE`, or its name.

        Raises NotFound, or Malformed with the candidates when several records fit.
        """
        machine = record_names.latest_of(wanted)
        if machine is not None:
            return self._latest(wanted, machine)
        if is_guid(wanted):
            return self._of_guid(wanted)
        rows = self.all(filter=record_names.searched(self.noun, wanted))
        return record_names.chosen(rows, wanted, self.noun, self._name, f", or latest:{wanted}")

    def newest(self, machine: str = "") -> list[T]:
        """The newest record, of one machine (a guid) or of all; empty without a record."""
        return self.page(size=1, protected_entity=machine).rows

    def _latest(self, wanted: str, machine: str) -> T:
        rows = self._newest_of(machine) if machine else self.newest()
        if not rows:
            raise record_names.missing(self.noun, wanted, machine)
        return rows[0]

    def _newest_of(self, machine: str) -> list[T]:
        """The newest record of a machine; if several machines have the name, of the only machine
        with records.

        A restored machine has the name of its original, and at first no backups.
        """
        machines = _Machines(self._calls)
        try:
            return self.newest(machines.guid(machine))
        except Malformed:
            named = [row for row in machines.all(filter=machine) if row.name == machine]
            newest = [rows for row in named[:_NAMESAKES] if (rows := self.newest(row.guid))]
            if len(newest) != 1 or len(named) > _NAMESAKES:
                raise
            return newest[0]

    def _name(self, row: T) -> str:
        entity = getattr(row, "protectedEntity", None)
        return str(getattr(entity, "name", ""))


class UuidCollection(ReadableCollection[T]):
    """Records that also have a uuid on their platform, by which `find` finds them."""

    def find(self, wanted: str) -> T:
        """Fetch the record with this guid, uuid or name, or with a guid that begins with `wanted`
        (at least six characters).

        Raises NotFound, or Malformed with the candidates if several records fit.
        """
        if is_guid(wanted):
            with suppress(NotFound):
                return self.get(wanted)
        return self._named(wanted)

    def guid(self, wanted: str) -> str:
        """The guid of the record that `find` returns; an unknown whole guid is returned as it
        is, because tasks and backups may outlive their machine.
        """
        try:
            return str(getattr(self.find(wanted), "guid"))  # noqa: B009
        except NotFound:
            if is_guid(wanted):
                return wanted
            raise


class _NamedRow(msgspec.Struct):
    """The members of a record by which `find` finds it."""

    guid: str
    name: str
    uuid: str = ""


class _Machines(UuidCollection[_NamedRow]):
    """Machines by name."""

    path, kind = "/virtual-machines", _NamedRow


class Collection(ReadableCollection[T]):
    """A collection whose records can also be removed."""

    def remove(self, guid: str) -> None:
        """Remove a record. Raises NotFound, or Conflict while other records refer to it."""
        self._calls.done("DELETE", f"{self.path}/{guid}")


class PerishableCollection(Collection[T]):
    """A collection whose records can be given up if their objects are lost for good."""

    def give_up(self, guid: str, **more: object) -> Losses:
        """Give up a record whose object is lost for good; returns all that is lost with it.

        `more` are further query parameters of the removal.
        """
        query = spelled({"gone": True, **more})
        call = HttpCall("DELETE", f"{self.path}/{guid}", None, query, patience=_GIVING_UP)
        return self._calls.fetch(Losses, call)
