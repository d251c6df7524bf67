"""Calls to a server that may be unavailable."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from threading import Event
from typing import TypeVar

from haulback.errors import HaulbackError, Unavailable
from haulback.retry import Backoff, retry

_BACKOFF = Backoff(0.5)
_STUMBLES = 5  # repetitions after an internal error of the server
T = TypeVar("T")


def patiently(call: Callable[[], T], stop: Event) -> T:
    """Repeat a call until the server answers.  Raises Unavailable only when `stop` is set.

    An internal error of the server is retried _STUMBLES times; any other error is raised
    immediately.
    """
    stumbles = count(1)

    def again(error: Exception) -> bool:
        if isinstance(error, HaulbackError) and error.code == HaulbackError.code:
            return next(stumbles) <= _STUMBLES
        return isinstance(error, Unavailable)

    def wait(seconds: float) -> None:
        if stop.wait(seconds):
            raise Unavailable("the node is stopping") from None

    return retry(call, _BACKOFF, again, wait)
