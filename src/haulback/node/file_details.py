"""Details of an entry of a mounted backup, which is opened and read to its end."""

from __future__ import annotations

import time
from typing import NamedTuple

from haulback.errors import HaulbackError, is_away
from haulback.filesystems.browser import Browser
from haulback.filesystems.records import Contents, EntryType, FileEntry, FileFacts
from haulback.texts import printable, sendable

_SECONDS = 30.0  # time for reading; the server waits 60 s for an answer
_PAGE = 10_000
_MOST_SHOWN = 1000  # attributes whose names are reported


class Trial(NamedTuple):
    """Outcome of opening and reading a file: its stored bytes, and how many of them were read."""

    contents: Contents
    reason: str = ""
    read: int = 0
    stored: int = 0


def details(browser: Browser, volume: str, path: str) -> dict[str, object]:
    """Members of an entry that are known only after the file was opened.

    Raises NotFound, and errors of the disks.
    """
    entry = browser.entry(volume, path)
    trial = tried(browser, volume, path, entry)
    facts = _facts(browser, volume, path)
    return {
        "contents": trial.contents.value,
        "reason": sendable(trial.reason),
        "read": trial.read,
        "stored": trial.stored,
        "node": str(entry.node),
        "links": entry.links,
        "attributes": [printable(name.decode("utf-8", "surrogateescape"))
                       for name, _ in facts.attributes[:_MOST_SHOWN]],
        "access": facts.access,
        "default": facts.default,
        "features": list(facts.features),
        "missing": sendable(facts.reason),
    }  # fmt: skip


def tried(
    browser: Browser, volume: str, path: str, entry: FileEntry, seconds: float = _SECONDS
) -> Trial:
    """Open an entry and read it; after `seconds` the remainder is not tried."""
    if entry.reason:
        return Trial(Contents.NOT_READABLE, entry.reason)
    if entry.type is EntryType.DIRECTORY:
        return _listed(browser, volume, path)
    if entry.type is EntryType.REGULAR_FILE:
        return _read(browser, volume, path, entry, time.monotonic() + seconds)
    return Trial(Contents.READABLE)


def _listed(browser: Browser, volume: str, path: str) -> Trial:
    after, last = "", False
    try:
        while not last:
            page = browser.listing(volume, path, after=after, most=_PAGE)
            if page.reason:
                reason = f"only a part of its entries is listed: {page.reason}"
                return Trial(Contents.NOT_READABLE, reason)
            last = len(page) < _PAGE
            after = page[-1].name if page else ""
    except HaulbackError as error:
        return _refused(error, Trial(Contents.NOT_READABLE))
    return Trial(Contents.READABLE)


def _read(browser: Browser, volume: str, path: str, entry: FileEntry, until: float) -> Trial:
    read = stored = 0
    try:
        ranges = browser.stored(volume, path, entry.size)
        stored = ranges.stored
        for part in browser.parts(volume, path, ranges):
            read += len(part)
            if time.monotonic() > until and read < stored:
                reason = f"{read} of {stored} bytes were read in {_SECONDS:g} s without an error"
                return Trial(Contents.NOT_TRIED, reason, read, stored)
    except HaulbackError as error:
        return _refused(error, Trial(Contents.NOT_READABLE, "", read, stored))
    return Trial(Contents.READABLE, "", read, stored)


def _refused(error: HaulbackError, trial: Trial) -> Trial:
    if is_away(error):
        raise error
    return trial._replace(reason=error.message)


def _facts(browser: Browser, volume: str, path: str) -> FileFacts:
    try:
        return browser.facts(volume, path)
    except HaulbackError as error:
        if is_away(error):
            raise
        return FileFacts(reason=error.message[:300])
