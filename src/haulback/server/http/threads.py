"""Handlers that wait for the database run in a bounded pool of threads, off the event loop.

The framework's own `sync_to_thread` wraps a handler once more for every method of its path and
then answers with a coroutine.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_POOL = ThreadPoolExecutor(max_workers=16, thread_name_prefix="http")


def threaded(handler: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """The handler, awaitable."""

    @functools.wraps(handler)
    async def awaitable(*arguments: P.args, **named: P.kwargs) -> R:
        call = functools.partial(handler, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(_POOL, call)

    return awaitable
