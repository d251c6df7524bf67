"""An event loop in a thread of its own, for client libraries that are asynchronous."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")
_lock = Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a fork has no threads


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine in the loop of this process; the calling thread waits."""
    future: Future[T] = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = asyncio.new_event_loop()
            _loops.clear()
            _loops[os.getpid()] = loop
            Thread(target=loop.run_forever, name="client-loop", daemon=True).start()
        return loop
