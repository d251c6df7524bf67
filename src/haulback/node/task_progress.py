"""Progress of one attempt: counters and log lines for the reporter, and the flags to stop."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import Event
from typing import TypeVar
from urllib.parse import quote, quote_plus, unquote

from haulback.errors import Cancelled, Fenced, Unavailable
from haulback.node.server_calls import patiently
from haulback.node.server_client import ServerClient
from haulback.texts import sendable, without_passwords
from haulback.wire import JsonObject

_LOG_AHEAD = 500  # lines that wait for the reporter; older lines are dropped
_LEAST_SECRET = 4  # characters; a shorter secret could be part of ordinary words
_ESCAPE = re.compile("%[0-9A-F]{2}")
T = TypeVar("T")


class TaskProgress:
    """Progress of the attempt named `attempt`.

    `total` and `done` are bytes, or records if `counts_records`; `is_done` is true if the attempt
    only cleans up.  The reporter reads the counters and sets the flags.
    """

    def __init__(self, attempt: str, link: ServerClient) -> None:
        self._attempt, self._link = attempt, link
        self.total = self.done = 0
        self.cancelled = self.is_done = self.counts_records = False
        self.lines: deque[str] = deque(maxlen=_LOG_AHEAD)
        self._secrets: set[str] = set()
        self._started = time.monotonic()
        self._over = Event()

    @property
    def fenced(self) -> bool:
        """Whether another attempt owns the task, or this process is stopping."""
        return self._over.is_set()

    def fence(self) -> None:
        """Stop the attempt, because the server no longer accepts its results."""
        self._over.set()

    def call_server(self, call: Callable[[], T]) -> T:
        """Call the server until it answers.  Raises Fenced if the attempt is fenced meanwhile."""
        try:
            return patiently(call, self._over)
        except Unavailable:
            raise Fenced("the attempt was given up while the server did not answer") from None

    def expect(self, total: int) -> None:
        self.total = total

    def expect_records(self, total: int) -> None:
        self.total, self.counts_records = total, True

    def count(self, count: int) -> None:
        self.done += count

    def meter(self, count: int) -> None:
        self.done += count
        self.stop_if_unwanted()

    def confirm(self) -> None:
        self.cancelled |= self.call_server(lambda: self._link.is_cancelled(self._attempt))
        self.stop_if_unwanted()

    def stop_if_unwanted(self) -> None:
        """Raise Fenced or Cancelled when the attempt must stop."""
        if self.fenced:
            raise Fenced("the server gave the task to another attempt")
        if self.cancelled:
            raise Cancelled("cancelled")

    def hide(self, secrets: Iterable[str]) -> None:
        """Keep secrets out of all later lines of the log and out of the final reason."""
        for secret in secrets:
            self._secrets |= {form for form in _forms(secret) if len(form) >= _LEAST_SECRET}

    def cleaned(self, text: str) -> str:
        """A text without the hidden secrets and without passwords in URLs."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return without_passwords(text)

    def log(self, text: str) -> None:
        self.lines.append(self.cleaned(sendable(text)))

    def summary(self) -> JsonObject:
        """Results about the progress: the records done so far, or the bytes with their rate."""
        return self.records() if self.counts_records else {"dataTransferRate": self._average()}

    def records(self) -> JsonObject:
        """The records done so far and all records; records that appeared meanwhile count too."""
        done = self.done  # read once, because the task continues to count
        return {"processedObjectCount": done, "totalObjectCount": max(done, self.total)}

    def _average(self) -> JsonObject:
        """Bytes moved so far, and the average rate in bytes per second."""
        took = max(time.monotonic() - self._started, 1e-3)
        return {
            "transferRate": round(self.done / took, 1),
            "transferredBytes": self.done,
            "timestamp": self._link.now_ms(),
        }


def _forms(secret: str) -> Iterator[str]:
    """The forms of a secret in messages: plain, in URLs, and with escapes of Python or JSON."""
    text = sendable(secret)
    yield from (secret, text, unquote(text), repr(text)[1:-1], json.dumps(text)[1:-1])
    for escaped in (quote(text), quote(text, safe=""), quote_plus(text)):
        yield escaped
        yield _ESCAPE.sub(lambda match: match[0].lower(), escaped)
