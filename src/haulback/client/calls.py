"""Typed calls: structs in, structs out, lists page by page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypedDict, TypeVar, Unpack

import msgspec

from haulback.client.api import Answer, Api
from haulback.errors import Malformed, NotFound, Unavailable
from haulback.ids import is_guid

T = TypeVar("T")
_PAGE = 500


class Listed(TypedDict, total=False):
    """What every list takes: `filter` is text, `direction` asc or desc, `size` rows at a time."""

    size: int
    filter: str
    orderBy: str
    direction: str
    project_uuid: str


class Narrowed(Listed, total=False):
    """What some lists other than that of tasks take: guids, names, statuses, epoch ms, bytes."""

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
    """Rows of a list, how many it has in all, and where the next page begins, if it says."""

    rows: list[T]
    total: int
    cursor: str | None = None
    counted: bool = True  # whether the server said the total: without one there are no pages


class Calls:
    """Calls of one `Api`.  All raise what the server says, Unavailable when it is silent."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def one(
        self,
        kind: type[T],
        method: str,
        path: str,
        body: Any = None,
        query: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        wait: float = 0.0,
    ) -> T:
        """A call whose answer is a `kind`."""
        sent = spelled(query or {})
        return _read(self.api.ask(method, path, body, sent, headers=headers, wait=wait), kind)

    def done(
        self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None
    ) -> None:
        """A call without an answer."""
        self.api.ask(method, path, body, spelled(query or {}))

    def page(self, kind: type[T], path: str, query: dict[str, Any]) -> Page[T]:
        """One page of a list."""
        answer = self.api.ask("GET", path, query=spelled(query))
        rows = _read(answer, list[kind])  # type: ignore[valid-type]
        total = answer.headers.get("x-total-count")
        cursor = answer.headers.get("x-next-cursor")
        return Page(rows, int(total or len(rows)), cursor, total is not None)

    def each(self, kind: type[T], path: str, query: dict[str, Any]) -> Iterator[T]:
        """All rows of a list: by the cursor where there is one, else by page numbers."""
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


def spelled(query: dict[str, Any]) -> dict[str, Any]:
    """Parameters as the API spells them: `project_uuid` is project-uuid, `from_` is from."""
    return {
        name.rstrip("_").replace("_", "-"): _plain(value)
        for name, value in query.items()
        if value is not None and value != ""
    }


def _plain(value: Any) -> Any:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def _read(answer: Answer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content or b"null", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        why = f"the answer is not what this client knows ({error}): is this a Haulback server?"
        raise Unavailable(why) from None


class Readable(Generic[T]):
    """A collection of the API that can be listed, looked into and searched by name."""

    path: str = ""
    kind: ClassVar[Any]
    title: ClassVar[str] = "name"  # the member people know a record by

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def page(self, page: int = 0, **query: Unpack[Narrowed]) -> Page[T]:
        """One page, from 0, with the total."""
        return self._calls.page(self.kind, self.path, {"page": page, "size": 50, **query})

    def all(self, **query: Unpack[Narrowed]) -> Iterator[T]:
        """Every record, read page by page."""
        return self._calls.each(self.kind, self.path, {**query})

    def get(self, guid: str) -> T:
        """One record.  Raises NotFound."""
        found: T = self._calls.one(self.kind, "GET", f"{self.path}/{guid}")
        return found

    def find(self, wanted: str) -> T:
        """The one record of this guid or this name.

        Raises NotFound, or Malformed when several have the name.
        """
        if is_guid(wanted):
            return self.get(wanted)
        found = [one for one in self.all(filter=wanted) if getattr(one, self.title) == wanted]
        what = self.path.rpartition("/")[2].replace("-", " ").removesuffix("s")
        if len(found) > 1:
            guids = ", ".join(str(getattr(one, "guid", "")) for one in found)
            raise Malformed(f"there are several {what}s named {wanted!r}; use a guid: {guids}")
        if not found:
            raise NotFound(f"there is no {what} {wanted!r}")
        return found[0]


class Collection(Readable[T]):
    """A collection whose records can be removed too."""

    def remove(self, guid: str) -> None:
        """Raises NotFound, or Conflict while something needs it."""
        self._calls.done("DELETE", f"{self.path}/{guid}")
