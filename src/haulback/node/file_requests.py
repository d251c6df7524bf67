"""Answers to the server's file requests: listings and downloads from mounted backups."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Annotated

import msgspec

from haulback.errors import HaulbackError, Malformed, NotFound, Unauthenticated, Unavailable
from haulback.filesystems.browser import Browser
from haulback.filesystems.records import EntryType, FileEntry, raw, text
from haulback.node.file_details import details
from haulback.node.server_client import FileRequest, ServerClient
from haulback.node.state_dir import StateDir
from haulback.texts import sendable
from haulback.units import MIB

log = logging.getLogger(__name__)
_AGAIN = 1.0  # seconds
_ANSWERS_AT_ONCE = 8  # downloads and listings that a node serves at a time
_RAW = "\\raw-"  # prefix of a name's bytes in hexadecimal
_MOST = 10_000  # entries of one page of a listing
_AT_ONCE = 500  # entries of a page between two checks of its size
_PIECE = 2 * MIB  # bytes of a piece of an answer, of which the server keeps a few
_LONGEST_WAIT = 1.0  # seconds
_PAGE_BYTES = 4 << 20  # size at which a page ends
_Paths = Annotated[list[str], msgspec.Meta(min_length=1, max_length=10_000)]


class DirectoryRequest(msgspec.Struct, tag="listing"):
    """Request for a page of a directory listing: up to `most` names after the name `after`."""

    mount: str
    volume: str
    path: str
    after: str = ""
    most: int = _MOST


class Download(msgspec.Struct, tag="download"):
    """Request for one unchanged file, or for several files and folders as a tar."""

    mount: str
    volume: str
    paths: _Paths
    archive: bool


class StatRequest(msgspec.Struct, tag="look"):
    """Request for the file type of a path; a link at the end is not followed."""

    mount: str
    volume: str
    path: str


class DetailsRequest(msgspec.Struct, tag="details"):
    """Request for the details of a path; the node opens and reads the file (`file_details`)."""

    mount: str
    volume: str
    path: str


class FileRequestWorker(Thread):
    """Thread that fetches file requests from the server and sends answers until `stop`."""

    def __init__(self, link: ServerClient, home: StateDir) -> None:
        super().__init__(name="desk", daemon=True)
        self._link, self._home, self._over = link, home, Event()
        self._pool = ThreadPoolExecutor(_ANSWERS_AT_ONCE, "answer")
        self._answering: set[str] = set()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                for question in self._link.questions():
                    if question.guid not in self._answering:
                        self._answering.add(question.guid)
                        self._pool.submit(self._answer, question)
            except Unauthenticated:
                return  # the runner reports the lost session
            except HaulbackError as error:
                log.debug("%s; trying again", error.message)
                self._over.wait(_AGAIN)
            except Exception:
                if self._over.is_set():
                    return  # `stop` closed the connection during the request
                log.exception("file requests cannot be fetched")
                self._over.wait(_AGAIN)

    def stop(self) -> None:
        self._over.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: FileRequest) -> None:
        try:
            self._bring(question.guid, self._parts(question))
        except NotFound:
            log.debug("the client closed request %s", question.guid)
        except HaulbackError as error:
            log.warning("an answer cannot be sent: %s", error.message)
        except Exception:
            log.exception("file request %s failed", question.guid)
        finally:
            self._answering.discard(question.guid)

    def _bring(self, guid: str, parts: Iterator[bytes | memoryview]) -> None:
        """Send the parts of an answer in order; the last part carries the end or the error."""
        number, before = 0, None
        try:
            for part in _joined(parts):
                if before is not None:
                    self._piece(guid, number, before)
                    number += 1
                before = part
        except Exception as error:  # noqa: BLE001 - the waiting client must get the error
            text = error.message if isinstance(error, HaulbackError) else repr(error)
            code = error.code if isinstance(error, HaulbackError) else Unavailable.code
            told = {"code": code, "message": sendable(text)}
            self._piece(guid, number, msgspec.json.encode(told), failed=True)
        else:
            self._piece(guid, number, before or b"", last=True)

    def _piece(
        self, guid: str, number: int, body: bytes, *, last: bool = False, failed: bool = False
    ) -> None:
        while not self._link.answer(guid, number, body, last=last, failed=failed):
            if self._over.is_set():
                raise Unavailable("the node is stopping")

    def _parts(self, question: FileRequest) -> Iterator[bytes | memoryview]:
        wanted = msgspec.convert(question.body, _Request)
        with self._home.shares.browser(wanted.mount) as browser:
            if isinstance(wanted, DirectoryRequest):
                yield msgspec.json.encode(_listing(browser, wanted))
            elif isinstance(wanted, StatRequest):
                path = _found(browser, wanted.volume, wanted.path)
                yield browser.entry(wanted.volume, path).type.value.encode()
            elif isinstance(wanted, DetailsRequest):
                path = _found(browser, wanted.volume, wanted.path)
                row = _shown(browser.entry(wanted.volume, path))
                told = details(browser, wanted.volume, path)
                yield msgspec.json.encode(row | told)
            elif wanted.archive:
                paths = [_found(browser, wanted.volume, path) for path in wanted.paths]
                yield from browser.archive(wanted.volume, paths)
            else:
                [path] = wanted.paths
                path = _found(browser, wanted.volume, path)
                yield from browser.stream(wanted.volume, path)


def _joined(
    parts: Iterable[bytes | memoryview], seconds: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    """Parts joined to pieces of at least _PIECE bytes, because each piece is a request to the
    server; bytes wait for later ones at most _LONGEST_WAIT seconds.
    """
    waiting, size, since = list[bytes | memoryview](), 0, 0.0
    for part in parts:
        since = since if waiting else seconds()
        waiting.append(part)
        size += len(part)
        if size >= _PIECE or seconds() >= since + _LONGEST_WAIT:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


_Request = DirectoryRequest | Download | StatRequest | DetailsRequest


def _listing(browser: Browser, wanted: DirectoryRequest) -> dict[str, object]:
    most = max(1, min(wanted.most, _MOST))
    path = _found(browser, wanted.volume, wanted.path)
    entry = browser.entry(wanted.volume, path)
    if entry.type in (EntryType.REGULAR_FILE, EntryType.OTHER):
        return {"entries": [_shown(entry)], "more": False}
    after, reason, size, more = _name_of(wanted.after), "", 0, True
    shown: list[dict[str, object]] = []
    while more and len(shown) < most and size < _PAGE_BYTES:
        count = min(_AT_ONCE, most - len(shown))
        part = browser.listing(wanted.volume, path, after=after, most=count)
        more, reason = len(part) == count, part.reason
        after = part[-1].name if part else after
        rows = [_shown(item) for item in part]
        shown += rows
        size += len(msgspec.json.encode(rows))
    return {
        "entries": shown,
        "more": more,
        "next": _mark_of(after) if more else "",
        "reason": reason,
    }


def _mark_of(name: str) -> str:
    """Encode a name as a page mark; an unprintable name is encoded by its bytes."""
    if sendable(name) == name and not name.startswith(_RAW):
        return name
    return _RAW + raw(name).hex()


def _name_of(mark: str) -> str:
    """Decode the name of a page mark.  Raises Malformed."""
    if not mark.startswith(_RAW):
        return mark
    try:
        return text(bytes.fromhex(mark.removeprefix(_RAW)))
    except ValueError:
        raise Malformed(
            "after: send the value of X-Next-Name of the page before", field="after"
        ) from None


def _shown(entry: FileEntry) -> dict[str, object]:
    return {
        "name": entry.shown,
        "type": entry.type.value,
        "size": entry.size,
        "modified": entry.modified,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "target": sendable(entry.target) if entry.target is not None else None,
        "reason": entry.reason,
        "contents": entry.contents.value,
    }


def _found(browser: Browser, volume: str, path: str) -> str:
    """Find a path, whose names may be given in the escaped form of unprintable names.

    Returns the path with the volume's own names.  Raises NotFound.  A path that cannot be read is
    returned unchanged; the following read reports the reason.
    """
    try:
        browser.entry(volume, path)
    except NotFound:
        if "\\" not in path:
            raise
        return _by_shown(browser, volume, path.strip("/").split("/"))
    except HaulbackError as error:
        log.debug("%s cannot be examined: %s", sendable(path), error.message)
    return path


def _by_shown(browser: Browser, volume: str, parts: Iterable[str]) -> str:
    at = ""
    for part in parts:
        after, reason = "", ""
        while result := browser.listing(volume, at or "/", after=after, most=_MOST):
            reason = result.reason
            if same := [item.name for item in result if part in (item.name, item.shown)]:
                at = f"{at}/{same[0]}"
                break
            after = result[-1].name
        else:
            more = f": {reason}" if reason else ""
            raise NotFound(f"there is no {part} in {sendable(at or '/')}{more}")
    return at
