"""S3 and compatible stores as a destination, over obstore.

A listing that a proxy's web page may have truncated is continued, and a busy store is asked how
long to wait, because obstore ignores Retry-After.
"""

from __future__ import annotations

import mmap
import sys
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import BoundedSemaphore
from typing import NamedTuple

import msgspec
import obstore
from obstore.store import S3Store

from haulback.contract.destination_types import S3Settings
from haulback.destinations.answer_headers import date_ms, pause_of
from haulback.destinations.bandwidth import Throttle
from haulback.destinations.object_names import checked
from haulback.destinations.obstore_objects import AT_ONCE, PROBES, ObstoreObjects, item_of
from haulback.destinations.protocol import IDENTITY, Item
from haulback.destinations.s3_client import client_of, create_bucket, headers_of
from haulback.destinations.s3_errors import answer_of, where
from haulback.destinations.s3_errors import problem as problem_of
from haulback.destinations.s3_lanes import Lane, lane_of
from haulback.destinations.s3_locks import S3Locks
from haulback.destinations.s3_versions import Uploads, is_installed
from haulback.errors import Misconfigured, NotFound

_FULL_PAGE = 1000  # objects; a shorter listing came in one answer
_MOST_IN_ONE_PUT = 5 << 30  # bytes of a part; the limit of S3
_SMALLEST_PART = 5 << 20  # bytes of a request; the limit of S3
_HALF_SECOND = 500  # ms; the times in answers are whole seconds


class _Names(NamedTuple):
    """Wanted objects of a listing; a listing that may be truncated continues after `next_after`."""

    items: Sequence[Item]
    next_after: str


class S3(ObstoreObjects):
    """Objects below `prefix` of a bucket; `owner` is the attempt that writes here."""

    no_place = frozenset({"NoSuchBucket"})

    settings: S3Settings

    def __init__(
        self, settings: S3Settings, owner: str = "by-hand", lane: Lane | None = None
    ) -> None:
        self.settings, self.owner = settings, owner
        self.lane = lane or lane_of(settings)
        self.client = client_of(settings, settings.accessKeyId, settings.secretAccessKey)

    def prepare(self) -> None:
        """Create the bucket if `createBucket` requests it."""
        if not self.settings.createBucket:
            return
        if self.settings.objectLock:
            self.locks.prepare()
            return
        create_bucket(self.settings)

    @property
    def parallelism(self) -> int:
        return self.settings.parallelism

    @property
    def place(self) -> str:
        return where(self.settings)

    @property
    def slots(self) -> BoundedSemaphore:
        return self.lane.slots

    @property
    def throttle(self) -> Throttle:
        return self.lane.throttle

    @cached_property
    def deleting(self) -> S3Store:
        """The client for deletions, which uses the deleting credentials if the order has them."""
        key, secret = self.settings.deleteAccessKeyId, self.settings.deleteSecretAccessKey
        return client_of(self.settings, key, secret) if key and secret else self.client

    @cached_property
    def uploads(self) -> Uploads:
        """Unfinished multipart uploads of this attempt."""
        return Uploads(self.settings, self.owner)

    @cached_property
    def locks(self) -> S3Locks:
        """Retention and versions of the objects in this location."""
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

    def list(self, prefix: str) -> Iterator[Item]:
        below = checked(prefix) + "/"
        items = self.listed(prefix)
        yield from (item for item in items if item.name.startswith(below))
        # A proxy's page in the middle of a listing looks like its end, so the listing continues
        # after the last name until the store, whose identity object must be readable then, lists no
        # more.
        while len(items) >= _FULL_PAGE:
            items = self.listed(prefix, items[-1].name)
            yield from (item for item in items if item.name.startswith(below))
            with suppress(NotFound):
                self.load(IDENTITY)

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        """The objects in several folders, from a listing of all names from the first folder on.

        The listing ends after the last folder, so that it takes a request for each 1,000 names in
        between, regardless of the number of packs.  The identity object is included if it lies in
        between.
        """
        below = tuple(checked(folder) + "/" for folder in folders)
        names = self._range(min(below)[:1], below)
        yield from names.items
        # as in `list`: the page of a proxy looks like the end of a list
        while names.next_after:
            names = self._range(names.next_after, below)
            yield from names.items
            with suppress(NotFound):
                self.load(IDENTITY)

    def _range(self, after: str, below: tuple[str, ...]) -> _Names:
        """The names from `after` to the last folder of `below`; other names are skipped."""
        items: list[Item] = []
        end, count, last = max(below), 0, ""
        with self.asking(f"the list of names up to {end}"):
            for page in obstore.list(self.client, offset=after):
                for meta in page:
                    count, last = count + 1, meta["path"]
                    if last > end and not last.startswith(end):
                        return _Names(items, "")
                    if last.startswith(below) or last == IDENTITY:
                        items.append(item_of(meta))
        return _Names(items, last if count >= _FULL_PAGE else "")

    def delete(self, name: str) -> None:
        checked(name)
        if self.settings.objectLock:
            self.locks.delete(name)
        else:
            self.remove(self.deleting, name)

    def sweep(self, alive: Set[str]) -> int:
        if self.settings.objectLock:
            self.locks.sweep()
        elif self.settings.deleteAccessKeyId:
            self._sweep_probes()
        return self.uploads.sweep(alive) if self.has_parts else 0

    def _sweep_probes(self) -> None:
        """Delete the objects of a probe whose credentials could not delete them."""
        with self.asking("the list of probes"):
            left = obstore.list(self.client, PROBES).collect()
        for item in left:
            self.remove(self.deleting, item["path"])

    @property
    def is_single_writer(self) -> bool:
        return self.settings.singleWriter

    @property
    def has_parts(self) -> bool:
        return is_installed()

    def scratch(self, token: str) -> S3:
        prefix = "/".join(part for part in (self.settings.prefix, PROBES, token) if part)
        smallest = msgspec.structs.replace(self.settings, prefix=prefix, partSize=_SMALLEST_PART)
        # many creates at once, regardless of `parallelism`
        return S3(smallest, self.owner, self.lane._replace(slots=BoundedSemaphore(AT_ONCE)))

    def drop(self) -> None:
        """Do nothing, because a bucket has no folders that could be left over."""

    def at(self, prefix: str) -> S3:
        settings = msgspec.structs.replace(self.settings, prefix=prefix)
        return S3(settings, self.owner, self.lane)

    def clock_ms(self) -> int | None:
        """The time in the store's answer, in whole seconds."""
        began = time.time_ns()
        answer = headers_of(self.settings, self.client, "HEAD", IDENTITY)
        told = date_ms(answer["Date"]) if answer else None
        if told is None:
            return None
        # the store's clock is read between two readings of the local clock
        return told + _HALF_SECOND + (time.time_ns() - began) // 2_000_000

    def create(self, name: str, data: bytes | mmap.mmap) -> None:
        if not self.settings.singleWriter:
            super().create(name, data)
            return
        self.throttle.take(len(data))
        with self.lane.creating:
            self.refuse_existing(name)
            self.put(name, data, "overwrite")

    @property
    def attributes(self) -> object:
        kind = self.settings.storageClass
        return super().attributes | ({"Storage-Class": kind} if kind else {})

    def upload(self, name: str, path: Path) -> None:
        size = path.stat().st_size
        if size > _MOST_IN_ONE_PUT and not self.has_parts:
            raise Misconfigured(
                f"{name} has {size} bytes, more than S3 takes in one request: install boto3 on "
                f"this node (`{sys.prefix}/bin/pip install boto3`)"
            )
        if size <= self.settings.partSize or not self.has_parts:
            self.create_from(name, path)
            return
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            self.throttle.take(size)
            with self.lane.slots:
                self.uploads.create(name, data)

    def problem(self, error: Exception, doing: str) -> Exception:
        answer = answer_of(error)
        pause = self._wanted_pause() if answer.is_busy else 0.0
        return problem_of(answer, self.settings, doing, pause)

    def _wanted_pause(self) -> float:
        """Ask the busy store for the pause in seconds that it requests; 0 if it requests none."""
        headers = headers_of(self.settings, self.client, "GET", IDENTITY)
        return pause_of(headers["Retry-After"], headers["Date"]) if headers else 0.0


def open_store(settings: S3Settings, owner: str) -> S3:
    """Open a bucket; no request is made.  Raises Misconfigured."""
    return S3(settings, owner)
