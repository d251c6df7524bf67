"""S3 and compatible stores as a destination, over obstore.

obstore gives the answers of a store as text, takes a 409 for an existing object, reads a page of a
proxy as an empty list, and ignores Retry-After.  This file settles all four: an existing name is
read back, a page is told by its type, and the store is asked for the pause.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

from haulback.contract.destination_types import S3Settings
from haulback.destinations.file_comparison import holds
from haulback.destinations.object_names import checked
from haulback.destinations.protocol import IDENTITY, Item
from haulback.destinations.s3_client import client_of, create_bucket, headers_of
from haulback.destinations.s3_errors import answer_of, problem, where
from haulback.destinations.s3_lanes import Lane, lane_of
from haulback.destinations.s3_locks import S3Locks
from haulback.destinations.s3_versions import Uploads, is_installed
from haulback.errors import Conflict, Damaged, Misconfigured, NotFound, Unavailable

_FULL_PAGE = 1000  # objects; a shorter list came in one answer
_MOST_IN_ONE_PUT = 5 << 30  # bytes; the limit of S3
_SMALLEST_PART = 5 << 20  # bytes; the limit of S3
_PROBES, _AT_ONCE = ".probe", 16
# an entry of these shows a repository whose identity object is lost
_OURS = {"haulback.copy.json", "manifests", "packs", "index", "graves"}
_HALF_SECOND = 500  # ms; the times of answers are whole seconds
_TYPE = "application/octet-stream"


class S3:
    """Objects below `prefix` of a bucket; a PUT makes an object appear whole or not at all.

    `owner` is the attempt that writes here.
    """

    def __init__(
        self, settings: S3Settings, owner: str = "by-hand", lane: Lane | None = None
    ) -> None:
        self.settings, self.owner = settings, owner
        self.lane = lane or lane_of(settings)
        self.client = client_of(settings, settings.accessKeyId, settings.secretAccessKey)

    def prepare(self) -> None:
        """Create the bucket where `createBucket` asks for it."""
        if not self.settings.createBucket:
            return
        if self.settings.objectLock:
            self.locks.prepare()
            return
        create_bucket(self.settings)

    @property
    def parallelism(self) -> int:
        return self.settings.parallelism

    @cached_property
    def _deleting(self) -> S3Store:
        """The client that deletes: with the deleting credentials where the order carries them."""
        key, secret = self.settings.deleteAccessKeyId, self.settings.deleteSecretAccessKey
        return client_of(self.settings, key, secret) if key and secret else self.client

    @cached_property
    def uploads(self) -> Uploads:
        """Uploads in parts, by the attempt of this store."""
        return Uploads(self.settings, self.owner)

    @cached_property
    def locks(self) -> S3Locks:
        """Retention and versions of the objects here."""
        return S3Locks(self.settings)

    @property
    def holds_locks(self) -> bool:
        return self.settings.objectLock

    def check_lock(self) -> None:
        self.locks.check()

    def lock(self, names: Iterable[str], until: int) -> None:
        self.locks.extend(names, until)

    def locked_until(self, name: str) -> int | None:
        return self.locks.until(name)

    def hidden(self) -> dict[str, str]:
        return self.locks.hidden()

    def unhide(self, name: str) -> None:
        self.locks.unhide(name)

    def store(self, name: str, data: bytes) -> None:
        self._create(checked(name), data)

    def adopt(self, name: str, path: Path) -> None:
        try:
            self._upload(checked(name), path)
        except Conflict:
            if not holds(self, name, path):
                raise
        path.unlink()

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        checked(name)
        if length == 0:
            return self._nothing(name, offset)
        wanted: Any = {"offset": offset} if length is None else (offset, offset + length)
        is_whole = offset == 0 and length is None
        with self._asking(f"the reading of {name}", name):
            try:
                answer = obstore.get(
                    self.client, name, options=None if is_whole else {"range": wanted}
                )
                self._check_page(name, answer.attributes)
                data = bytes(answer.bytes())
            except BaseError as error:
                if answer_of(error).status != 416:
                    raise
                data = b""
        self.lane.throttle.take(len(data))
        if (length is not None and len(data) != length) or (not data and offset):
            return self._shorter(name, offset, length, len(data))
        return data

    def info(self, name: str) -> Item:
        checked(name)
        with self._asking(f"the look-up of {name}", name):
            try:
                found = obstore.get(self.client, name, options={"head": True})
            except FileNotFoundError:
                # the answer to a HEAD has no body: only that of a GET tells a missing bucket
                found = obstore.get(self.client, name)
            self._check_page(name, found.attributes)
            return _item(found.meta)

    def list(self, prefix: str) -> Iterator[Item]:
        below = checked(prefix) + "/"
        items = self._listed(prefix)
        yield from (item for item in items if item.name.startswith(below))
        # A page of a proxy in the middle of a list looks like its end: go on after the last name
        # until the store, whose identity object is readable then, lists no more.
        while len(items) >= _FULL_PAGE:
            items = self._listed(prefix, items[-1].name)
            yield from (item for item in items if item.name.startswith(below))
            with suppress(NotFound):
                self.load(IDENTITY)

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        """The objects below several folders: a list of all names from the first folder on.

        The list ends after the last folder, so it takes a request for each 1,000 names in between,
        however many packs there are.  The identity object is shown where it lies in between.
        """
        below = tuple(checked(folder) + "/" for folder in folders)
        end, after = max(below), min(below)[:1]
        items, is_over = self._range(after, end)
        yield from (i for i in items if i.name.startswith(below) or i.name == IDENTITY)
        # as in `list`: the page of a proxy looks like the end of a list
        while len(items) >= _FULL_PAGE and not is_over:
            items, is_over = self._range(items[-1].name, end)
            yield from (i for i in items if i.name.startswith(below) or i.name == IDENTITY)
            with suppress(NotFound):
                self.load(IDENTITY)

    def _range(self, after: str, end: str) -> tuple[Sequence[Item], bool]:
        """The names from `after` to those that begin with `end`, and whether a later name came."""
        items: list[Item] = []
        with self._asking(f"the list of names up to {end}"):
            for page in obstore.list(self.client, offset=after):
                for meta in page:
                    if meta["path"] > end and not meta["path"].startswith(end):
                        return items, True
                    items.append(_item(meta))
        return items, False

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        below = checked(folder) + "/" if folder else ""
        with self._asking(f"the list of {folder or 'the root'}"):
            found = obstore.list_with_delimiter(self.client, folder or None)
        for path in found["common_prefixes"]:
            yield path[len(below) :].strip("/"), False
        for item in found["objects"]:
            if item["path"].startswith(below):
                yield item["path"][len(below) :], True

    def delete(self, name: str) -> None:
        checked(name)
        if self.settings.objectLock:
            self.locks.delete(name)
        else:
            self._delete(self._deleting, name)

    def _delete(self, client: S3Store, name: str) -> None:
        with self._asking(f"the deletion of {name}"):
            try:
                obstore.delete(client, name)
            except FileNotFoundError as error:
                if answer_of(error).code == "NoSuchBucket":
                    raise

    def sweep(self, alive: Set[str]) -> int:
        if self.settings.deleteAccessKeyId:
            self._sweep_probes()
            if self.settings.objectLock:
                self.locks.sweep()
        return self.uploads.sweep(alive) if self.has_parts else 0

    def _sweep_probes(self) -> None:
        """Delete what a probe left behind whose credentials could not delete."""
        with self._asking("the list of probes"):
            left = obstore.list(self.client, _PROBES).collect()
        for item in left:
            self._delete(self._deleting, item["path"])

    @property
    def is_single_writer(self) -> bool:
        return self.settings.singleWriter

    @property
    def has_parts(self) -> bool:
        return is_installed()

    def scratch(self, token: str) -> S3:
        prefix = "/".join(part for part in (self.settings.prefix, _PROBES, token) if part)
        smallest = msgspec.structs.replace(self.settings, prefix=prefix, partSize=_SMALLEST_PART)
        # many creates at once, whatever `parallelism` is
        return S3(smallest, self.owner, self.lane._replace(slots=BoundedSemaphore(_AT_ONCE)))

    def drop(self) -> None:
        """A bucket has no folders that could be left."""

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
                below = "/".join([*parts, name])
                self._refuse_repository(below, "holds the repository")
        if entries and not _OURS.intersection(name for name, _ in entries):
            raise Conflict(
                f"{where(self.settings)} holds objects of other programs, such as {entries[0][0]}: "
                "name an empty `prefix`"
            )

    def _refuse_repository(self, prefix: str, relation: str) -> None:
        settings = msgspec.structs.replace(self.settings, prefix=prefix)
        there = S3(settings, self.owner, self.lane)
        with suppress(NotFound):
            there.info(IDENTITY)
            raise Conflict(
                f"{where(self.settings)} {relation} in {where(there.settings)}: name another "
                "`prefix`"
            )

    def clock_ms(self) -> int | None:
        """The time in the store's answer, in whole seconds."""
        began = time.time_ns()
        answer = headers_of(self.settings, self.client, "HEAD", IDENTITY)
        told = parsedate_to_datetime(answer["Date"]) if answer and answer["Date"] else None
        if told is None:
            return None
        # the store's clock is read between both readings of ours
        return int(told.timestamp() * 1000) + _HALF_SECOND + (time.time_ns() - began) // 2_000_000

    def links(self) -> bool | None:
        return None

    def may_replace(self, name: str) -> bool:
        return self._is_allowed(lambda: self._put(name, b"replaced", "overwrite"))

    def may_delete(self, name: str) -> bool:
        return self._is_allowed(lambda: self._delete(self.client, name))

    def _is_allowed(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except Misconfigured:
            return False
        return True

    def local_path(self, name: str) -> Path | None:  # noqa: ARG002 - the Protocol's parameter
        return None

    def _create(self, name: str, data: bytes | mmap.mmap) -> None:
        self.lane.throttle.take(len(data))
        if self.settings.singleWriter:
            with self.lane.creating:
                self._refuse_existing(name)
                self._put(name, data, "overwrite")
            return
        try:
            self._put(name, data, "create")
        except (AlreadyExistsError, PreconditionError):
            self._settle(name)

    def _put(self, name: str, data: bytes | mmap.mmap, mode: Any) -> None:
        with self._asking(f"the creation of {name}"):
            obstore.put(
                self.client,
                name,
                data,
                attributes=self._attributes,
                mode=mode,
                use_multipart=False,
            )

    @property
    def _attributes(self) -> Any:
        kind = self.settings.storageClass
        return {"Content-Type": _TYPE} | ({"Storage-Class": kind} if kind else {})

    def _settle(self, name: str) -> None:
        """Raise Conflict for an object that exists, Unavailable after a conflict of requests."""
        self._refuse_existing(name)
        raise Unavailable(f"{name} met another request at the store; try again")

    def _refuse_existing(self, name: str) -> None:
        try:
            self.info(name)
        except NotFound:
            return
        raise Conflict(f"{name} exists already in {where(self.settings)}", name=name)

    def _upload(self, name: str, path: Path) -> None:
        size = path.stat().st_size
        if size > _MOST_IN_ONE_PUT and not self.has_parts:
            raise Misconfigured(
                f"{name} has {size} bytes, more than S3 takes in one request: install boto3 on "
                "this node (pip install 'haulback[s3-lock]')"
            )
        if size == 0:
            self._create(name, b"")
            return
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            if size > self.settings.partSize and self.has_parts:
                self.lane.throttle.take(size)
                with self.lane.slots:
                    self.uploads.create(name, data)
            else:
                self._create(name, data)

    def _listed(self, prefix: str, after: str | None = None) -> Sequence[Item]:
        with self._asking(f"the list of {prefix}"):
            found = obstore.list(self.client, prefix, offset=after).collect()
        return [_item(meta) for meta in found]

    def _nothing(self, name: str, offset: int) -> bytes:
        if offset > (size := self.info(name).size):
            raise Damaged(f"{name} is truncated at byte {size}", name=name)
        return b""

    def _shorter(self, name: str, offset: int, length: int | None, had: int) -> bytes:
        """Settle a read beyond the end: Damaged, unless nothing was asked for."""
        size = self.info(name).size
        if length is None and offset == size:
            return b""
        if length is not None and offset + length <= size:
            raise Unavailable(f"{name}: {had} of {length} bytes came; try again")
        raise Damaged(f"{name} is truncated at byte {size}", name=name)

    def _check_page(self, name: str, attributes: Any) -> None:
        kind = str(attributes.get("Content-Type", ""))
        if kind.startswith("text/html"):
            raise Unavailable(
                f"{name}: a web page came in place of the object: a proxy or a portal answers in "
                f"place of {where(self.settings)}; check `endpoint` and `proxy`"
            )

    @contextmanager
    def _asking(self, doing: str, name: str = "") -> Iterator[None]:
        """Hold a slot of the lane, and translate the errors of a request for the object `name`."""
        try:
            with self.lane.slots:
                yield
        except (AlreadyExistsError, PreconditionError):
            raise
        except FileNotFoundError as error:
            if name and answer_of(error).code != "NoSuchBucket":
                raise NotFound(f"{name} is not in {where(self.settings)}", name=name) from None
            raise self._problem(error, doing) from error
        except (BaseError, ValueError) as error:
            raise self._problem(error, doing) from error

    def _problem(self, error: Exception, doing: str) -> Exception:
        answer = answer_of(error)
        pause = self._wanted_pause() if answer.is_busy else 0.0
        return problem(answer, self.settings, doing, pause)

    def _wanted_pause(self) -> float:
        """Ask the busy store for the pause in seconds that it wants; 0 where it says none."""
        headers = headers_of(self.settings, self.client, "GET", IDENTITY)
        asked = str(headers["Retry-After"]) if headers else ""
        return float(asked) if asked.isdigit() else 0.0


def open_store(settings: S3Settings, owner: str) -> S3:
    """Open a bucket; no request is made.  Raises Misconfigured."""
    return S3(settings, owner)


def _item(meta: Any) -> Item:
    return Item(meta["path"], meta["size"], int(meta["last_modified"].timestamp() * 1000))
