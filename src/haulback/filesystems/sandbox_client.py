"""Parent side of the sandbox: start on demand, request, terminate on errors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import TypeVar

import msgspec

import haulback
from haulback.drivers.source import Source
from haulback.errors import (
    HaulbackError,
    Malformed,
    NotFound,
    Unavailable,
    Unreadable,
    Unsupported,
    by_code,
    is_away,
)
from haulback.filesystems.block_server import BlockServer
from haulback.filesystems.code_pages import code_page
from haulback.filesystems.records import Answer, Begin, Failed, Query
from haulback.framing import receive, send
from haulback.texts import printable

# -S: the module `site`, and the packages that it imports, are not needed
COMMAND = (sys.executable, "-P", "-S", "-m", "haulback.filesystems.sandbox_start")
_PACKAGES = dict.fromkeys(
    str(Path(module.__file__ or "").parents[1]) for module in (haulback, msgspec)
)
_ERRORS = by_code(Malformed, NotFound, Unsupported)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_Wanted = TypeVar("_Wanted")


class SandboxClient:
    """Client of the sandbox; a process that ended is replaced at the next request.

    `deadline` is the timeout of a request in seconds. `command` is the program to run; its last
    arguments are the descriptors of two sockets, for requests and for blocks of the disks.
    """

    def __init__(
        self, sources: Mapping[str, Source], deadline: float, command: Sequence[str] = COMMAND
    ) -> None:
        self._sources, self._deadline, self._command = dict(sources), deadline, command
        # held for a whole request, because the process answers one request at a time
        self._lock = Lock()
        self._running: _Running | None = None

    def query(
        self,
        question: Query,
        wanted: type[_Wanted],
        sound: Callable[[_Wanted], bool] = lambda _: True,
    ) -> _Wanted:
        """Send a request; the response must be of type `wanted` and pass the check `sound`.

        Raises the error that the process reports (NotFound, Malformed, Unsupported), the error of a
        Source, and Unreadable when the process dies, times out or sends a malformed response.
        """
        with self._lock:
            running = self._alive()
            try:
                answer = running.query(question, time.monotonic() + self._deadline)
                if isinstance(answer, wanted) and not sound(answer):
                    raise ValueError("an implausible response")
                if not isinstance(answer, wanted | Failed):
                    raise ValueError("a response of the wrong type")
            except (EOFError, OSError, ValueError) as error:
                self._end()
                raise running.feeder.failure or _unreadable(error, self._deadline) from None
            failure = running.feeder.failure
            if is_away(failure):
                self._end()  # the process may have cached the failure as damage
                raise failure
            if isinstance(answer, Failed):
                raise failure or _failed(answer)
            return answer

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _alive(self) -> _Running:
        if self._running and self._running.process.poll() is not None:
            self._end()
        if not self._running:
            self._running = _Running(self._sources, self._command)
        self._running.feeder.failure = None
        return self._running

    def _end(self) -> None:
        if self._running:
            self._running.close()
            self._running = None


class _Running:
    """A running process; the feeder thread starts it.

    The kernel kills the process together with the thread that started it (PR_SET_PDEATHSIG).
    """

    def __init__(self, sources: Mapping[str, Source], command: Sequence[str]) -> None:
        page = code_page()
        self.feeder = BlockServer(list(sources.values()))
        self._control, theirs = socket.socketpair()
        started: Future[subprocess.Popen[bytes]] = Future()
        self._thread = Thread(
            target=self._run, args=(command, theirs, started), name="feeder", daemon=True
        )
        self._thread.start()
        try:
            self.process = started.result()
        except OSError as error:
            self._control.close()
            raise Unavailable(f"the file system reader does not start: {error}") from None
        names = [(name, source.size) for name, source in sources.items()]
        with suppress(OSError):  # the first request reports the error
            send(self._control, Begin(names, page))

    def _run(
        self,
        command: Sequence[str],
        control: socket.socket,
        started: Future[subprocess.Popen[bytes]],
    ) -> None:
        feed, disks = socket.socketpair()
        with control, disks:
            try:
                started.set_result(_spawn(command, control, disks))
            except OSError as error:
                feed.close()
                started.set_exception(error)
                return
        self.feeder.serve(feed)
        # The process has disconnected, or `close` has killed it: in both cases this wait ends.
        started.result().wait()

    def query(self, question: Query, until: float) -> Answer:
        self._control.settimeout(max(0.001, until - time.monotonic()))
        send(self._control, question)
        return receive(self._control, _answers, until)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._control.close()
        self._thread.join()


def _spawn(
    command: Sequence[str], control: socket.socket, disks: socket.socket
) -> subprocess.Popen[bytes]:
    ends = control.fileno(), disks.fileno()
    return subprocess.Popen(
        [*command, *map(str, ends)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=ends,
        start_new_session=True,
        cwd="/",
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(_PACKAGES),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUTF8": "1",
            "TZ": "UTC",
        },
    )


def _unreadable(error: Exception, deadline: float) -> HaulbackError:
    if isinstance(error, TimeoutError):
        return Unreadable(
            f"reading the file system took longer than {deadline:g} seconds and was stopped;"
            " it may be damaged"
        )
    if isinstance(error, ValueError):
        return Unreadable("the file system reader sent a malformed response and was ended")
    return Unreadable("the file system reader died; the file system may be damaged")


def _failed(answer: Failed) -> HaulbackError:
    return _ERRORS.get(answer.code, Malformed)(printable(answer.message))
