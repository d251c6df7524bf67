"""An event loop in a separate thread, for asynchronous client libraries."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import Future
from threading import Lock, Thread
from typing import TypeVar

T = TypeVar("T")
_lock = Lock()
# The loop by process, because a fork has no threads.
_loops: dict[int, asyncio.AbstractEventLoop] = {}


def run(work: Coroutine[object, object, T]) -> T:
    """The result of a coroutine in this process's loop; the calling thread waits."""
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
