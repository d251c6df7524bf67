"""Guest operations over a connection: commands around a block, and a tar for a guest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import NamedTuple

from haulback.drivers.remote.rpc import HYPERVISOR, PeerConnection
from haulback.errors import HaulbackError


class StartedBlock(NamedTuple):
    """A started block of `GuestOperations.around`: its object number, and warnings so far."""

    number: int
    warnings: list[str]


class StreamServer:
    """Server of a byte stream, for instance a tar."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)

    def more(self) -> list[bytes]:
        """The next part in a list; an empty list ends the stream."""
        return list(islice(self._parts, 1))


class ServedBlock:
    """Server of a block of `GuestOperations.around`; ends with `end` or with the connection."""

    def __init__(
        self, link: PeerConnection, around: Callable[..., AbstractContextManager[None]]
    ) -> None:
        self._link, self._warnings = link, list[str]()
        self._block = around(self._warnings.append)

    def begin(self) -> StartedBlock:
        self._block.__enter__()
        return StartedBlock(self._link.offer(self), self._new_warnings())

    def end(self) -> list[str]:
        if self._link.withdraw(self):
            self._block.__exit__(None, None, None)
        return self._new_warnings()

    def close(self) -> None:
        self.end()

    def _new_warnings(self) -> list[str]:
        told, self._warnings[:] = list(self._warnings), []
        return told


class GuestCommands(NamedTuple):
    """Commands to run in the guest of machine `uuid` at the start and at the end of a block."""

    uuid: str
    before: str
    after: str


@contextmanager
def far_block(
    link: PeerConnection, commands: GuestCommands, warn: Callable[[str], None]
) -> Iterator[None]:
    """Run commands in a guest by the remote driver, at the start and at the end of the block."""
    begun = link.call(HYPERVISOR, "around", *commands, kind=StartedBlock)
    try:
        for warning in begun.warnings:
            warn(warning)
        yield
    finally:
        try:
            for warning in link.call(begun.number, "end", kind=list[str]):
                warn(warning)
        # The remote driver runs the command even if the node has died.
        except HaulbackError as error:
            warn(f"the result of the command after the backup is unknown: {error.message}")
