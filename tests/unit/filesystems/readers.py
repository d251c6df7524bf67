"""A reader of file systems that runs in a thread of the tests instead of in the sandbox."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread

import msgspec

from haulback.filesystems import sandbox_client
from haulback.filesystems.parsers.blocks import ParentDisk
from haulback.filesystems.parsers.fat_names import CodePage
from haulback.filesystems.parsers.queries import QueryHandler
from haulback.filesystems.records import Answer, Begin, Query
from haulback.filesystems.sandbox_main import reply
from haulback.framing import receive

_asks = msgspec.msgpack.Decoder(Query)
_start_program = sandbox_client._spawn


def passed_on(told: Answer) -> Answer:
    """An answer as the parent decodes it; hostile data must not exceed its limits."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=Answer)


class Reader:
    """A thread with the members of a process that the client of the sandbox uses."""

    def __init__(self, control: socket.socket, disks: socket.socket) -> None:
        self._control = control.dup()
        self._thread = Thread(target=self._run, args=(control.dup(), disks.dup()), daemon=True)
        self._thread.start()

    def _run(self, control: socket.socket, disks: socket.socket) -> None:
        with control, disks, suppress(EOFError, OSError):
            begin = receive(control, _asks)
            assert isinstance(begin, Begin)
            sources = {
                name: ParentDisk(disks, number, size)
                for number, (name, size) in enumerate(begin.disks)
            }
            answers = QueryHandler(sources, CodePage(begin.code_page))
            while True:
                control.sendall(reply(answers, receive(control, _asks)))

    def poll(self) -> int | None:
        return None if self._thread.is_alive() else 0

    def kill(self) -> None:
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()

    def wait(self) -> int:
        self._thread.join()
        return 0


def start(
    command: Sequence[str], control: socket.socket, disks: socket.socket
) -> Reader | subprocess.Popen[bytes]:
    """Start a thread for the product's own reader, and a process for any other program."""
    if command == sandbox_client.COMMAND:
        return Reader(control, disks)
    return _start_program(command, control, disks)
