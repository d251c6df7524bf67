"""Base of the stores over obstore: S3 and Azure differ only in credentials, errors and locks.

obstore returns a store's error as text, reports a conflict of two requests as an existing object,
and reads a web page of a proxy as an empty listing.  Therefore a name that is reported to exist is
looked up, and a web page is recognised by its content type.
"""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, ClassVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from haulback.contract.destination_types import AzureSettings, S3Settings
from haulback.destinations.bandwidth import Throttle
from haulback.destinations.file_comparison import holds
from haulback.destinations.object_names import checked
from haulback.destinations.protocol import IDENTITY, Item
from haulback.destinations.s3_errors import DELETION, answer_of
from haulback.errors import Conflict, Damaged, Misconfigured, NotFound, Unavailable

# an entry in one of these folders shows a repository whose identity object is lost
_OURS = {"haulback.copy.json", "manifests", "packs", "index", "graves"}
PROBES, AT_ONCE = ".probe", 16  # folder of probes, and simultaneous creates in it
_TYPE = "application/octet-stream"
_BEYOND = "Wanted range starting at"  # start of obstore's own error about an answer


class ObstoreObjects(ABC):
    """Objects of a bucket or container; a PUT creates an object completely or not at all.

    `client` is a store of obstore, `no_place` are the error codes for a bucket that does not exist.
    """

    no_place: ClassVar[frozenset[str]]
    client: Any
    settings: S3Settings | AzureSettings

    @property
    @abstractmethod
    def place(self) -> str:
        """The location of the destination, for messages."""

    @abstractmethod
    def at(self, prefix: str) -> ObstoreObjects:
        """The objects below another prefix of the same bucket or container."""

    @property
    @abstractmethod
    def slots(self) -> BoundedSemaphore:
        """The requests that all tasks of this process share."""

    @property
    @abstractmethod
    def throttle(self) -> Throttle:
        """The bandwidth that all tasks of this process share."""

    @property
    @abstractmethod
    def deleting(self) -> Any:
        """The client for deletions."""

    @abstractmethod
    def problem(self, error: Exception, doing: str) -> Exception:
        """The error of a failed request; `doing` names the operation that failed."""

    @abstractmethod
    def upload(self, name: str, path: Path) -> None:
        """Create an object from a file.  Raises Conflict."""

    @property
    def attributes(self) -> Any:
        """The attributes of new objects."""
        return {"Content-Type": _TYPE}

    def store(self, name: str, data: bytes) -> None:
        self.create(checked(name), data)

    def adopt(self, name: str, path: Path) -> None:
        try:
            self.upload(checked(name), path)
        except Conflict:
            if not holds(self, name, path):
                raise
        path.unlink()

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        checked(name)
        if length == 0:
            return self._nothing(name, offset)
        wanted: object = {"offset": offset} if length is None else (offset, offset + length)
        options: Any = None if offset == 0 and length is None else {"range": wanted}
        with self.asking(f"the reading of {name}", name):
            try:
                answer = obstore.get(self.client, name, options=options)
                self._check_page(name, answer.attributes)
                data = bytes(answer.bytes())
            except BaseError as error:
                if answer_of(error).status != 416 and _BEYOND not in str(error):
                    raise
                data = b""
        self.throttle.take(len(data))
        if (length is not None and len(data) != length) or (not data and offset):
            return self._shorter(name, offset, length, len(data))
        return data

    def info(self, name: str) -> Item:
        checked(name)
        with self.asking(f"the look-up of {name}", name):
            try:
                answer = obstore.get(self.client, name, options={"head": True})
            except FileNotFoundError:
                # the answer to a HEAD has no body, so only the answer to a GET shows a missing
                # bucket
                answer = obstore.get(self.client, name)
            self._check_page(name, answer.attributes)
            return item_of(answer.meta)

    def list(self, prefix: str) -> Iterator[Item]:
        below = checked(prefix) + "/"
        return (item for item in self.listed(prefix) if item.name.startswith(below))

    def listed(self, prefix: str, after: str | None = None) -> Sequence[Item]:
        with self.asking(f"the list of {prefix}"):
            listed = obstore.list(self.client, prefix, offset=after).collect()
        return [item_of(meta) for meta in listed]

    def check_neighbours(self) -> None:
        """Raise Conflict for a repository above or below the prefix, and for foreign objects."""
        parts = self.settings.prefix.split("/") if self.settings.prefix else []
        for count in range(len(parts)):
            self._refuse_repository("/".join(parts[:count]), "lies inside the repository")
        entries = sorted(entry for entry in self.entries("") if not entry[0].startswith("."))
        if (IDENTITY, True) in entries:
            return
        for name, is_file in entries:
            if not is_file:
                self._refuse_repository("/".join([*parts, name]), "holds the repository")
        if entries and not _OURS.intersection(name for name, _ in entries):
            raise Conflict(
                f"{self.place} holds objects of other programs, such as {entries[0][0]}: "
                "name an empty `prefix`"
            )

    def _refuse_repository(self, prefix: str, relation: str) -> None:
        there = self.at(prefix)
        # Credentials may be limited to the own prefix.
        with suppress(NotFound, Misconfigured):
            there.info(IDENTITY)
            raise Conflict(f"{self.place} {relation} in {there.place}: name another `prefix`")

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        below = checked(folder) + "/" if folder else ""
        with self.asking(f"the list of {folder or 'the root'}"):
            listed = obstore.list_with_delimiter(self.client, folder or None)
        for path in listed["common_prefixes"]:
            yield path[len(below) :].strip("/"), False
        for item in listed["objects"]:
            if item["path"].startswith(below):
                yield item["path"][len(below) :], True

    def delete(self, name: str) -> None:
        self.remove(self.deleting, checked(name))

    def remove(self, client: Any, name: str) -> None:
        """Delete an object by the credentials of a client."""
        with self.asking(f"{DELETION}{name}"):
            try:
                obstore.delete(client, name)
            except FileNotFoundError as error:
                if answer_of(error).code in self.no_place:
                    raise

    def local_path(self, name: str) -> Path | None:  # noqa: ARG002 - the Protocol's parameter
        return None

    def sweep(self, alive: Set[str]) -> int:  # noqa: ARG002 - the Protocol's parameter
        """Do nothing, because a PUT leaves no temporary object."""
        return 0

    def links(self) -> bool | None:
        return None

    def may_replace(self, name: str) -> bool:
        return _is_allowed(lambda: self.put(name, b"replaced", "overwrite"))

    def may_delete(self, name: str) -> bool:
        return _is_allowed(lambda: self.remove(self.client, name))

    def create(self, name: str, data: bytes | mmap.mmap) -> None:
        """Create an object.  Raises Conflict for a name that exists."""
        self.throttle.take(len(data))
        try:
            self.put(name, data, "create")
        except (AlreadyExistsError, PreconditionError):
            self.refuse_existing(name)
            raise Unavailable(
                f"{name}: another request changed the object at the same time; try again"
            ) from None

    def create_from(self, name: str, path: Path) -> None:
        """Create an object from a file by one request."""
        if path.stat().st_size == 0:
            self.create(name, b"")
            return
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            self.create(name, data)

    def put(self, name: str, data: bytes | mmap.mmap, mode: Any) -> None:
        with self.asking(f"the creation of {name}"):
            obstore.put(
                self.client,
                name,
                data,
                attributes=self.attributes,
                mode=mode,
                use_multipart=False,
            )

    def refuse_existing(self, name: str) -> None:
        """Raise Conflict for an object that exists."""
        try:
            self.info(name)
        except NotFound:
            return
        raise Conflict(f"{name} exists already in {self.place}", name=name)

    def _nothing(self, name: str, offset: int) -> bytes:
        if offset > (size := self.info(name).size):
            raise Damaged(f"{name} is truncated at byte {size}", name=name)
        return b""

    def _shorter(self, name: str, offset: int, length: int | None, had: int) -> bytes:
        """Handle a read beyond the end: raises Damaged unless zero bytes were requested."""
        size = self.info(name).size
        if length is None and offset == size:
            return b""
        if length is not None and offset + length <= size:
            raise Unavailable(f"{name}: only {had} of {length} bytes arrived; try again")
        raise Damaged(f"{name} is truncated at byte {size}", name=name)

    def _check_page(self, name: str, attributes: Any) -> None:
        if str(attributes.get("Content-Type", "")).startswith("text/html"):
            raise Unavailable(
                f"{name}: a web page came in place of the object: a proxy or a portal answers in "
                f"place of {self.place}; check `endpoint` and `proxy`"
            )

    @contextmanager
    def asking(self, doing: str, name: str = "") -> Iterator[None]:
        """Hold a slot, and translate the errors of a request for the object `name`."""
        try:
            with self.slots:
                yield
        except (AlreadyExistsError, PreconditionError):
            raise
        except FileNotFoundError as error:
            if name and answer_of(error).code not in self.no_place:
                raise NotFound(f"{name} is not in {self.place}", name=name) from None
            raise self.problem(error, doing) from error
        except (BaseError, ValueError) as error:
            raise self.problem(error, doing) from error


def item_of(meta: Any) -> Item:
    """An object as obstore describes it."""
    return Item(meta["path"], meta["size"], int(meta["last_modified"].timestamp() * 1000))


def _is_allowed(call: Callable[[], None]) -> bool:
    try:
        call()
    except Misconfigured:
        return False
    return True
