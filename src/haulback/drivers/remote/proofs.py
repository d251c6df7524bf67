"""Proofs over a connection: the remote driver boots a machine from disks that the node serves."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Self

from haulback.drivers.hypervisor import BootedMachine, Machine
from haulback.drivers.remote.disks import OfferedDisk, ServedSource
from haulback.drivers.remote.rpc import HYPERVISOR, PeerConnection
from haulback.drivers.source import Source
from haulback.errors import HaulbackError


class ServedBootedMachine:
    """Server of a Booted machine."""

    def __init__(self, link: PeerConnection, booted: BootedMachine) -> None:
        self._link, self._booted = link, booted

    def left_out(self) -> list[str]:
        return self._booted.left_out()

    def is_running(self) -> bool:
        return self._booted.is_running()

    def console(self) -> str:
        return self._booted.console()

    def agent_answers(self) -> bool:
        return self._booted.agent_answers()

    def run(self, script: str, seconds: int) -> tuple[int, str]:
        return self._booted.run(script, seconds)

    def screen(self) -> list[bytes]:
        found = self._booted.screen()
        return [] if found is None else [found]

    def close(self) -> None:
        if self._link.withdraw(self):
            self._booted.close()


class RemoteBootedMachine:
    def __init__(
        self, link: PeerConnection, wanted: Machine, sources: Mapping[str, Source], attempt: str
    ) -> None:
        self._link, self._open = link, True
        self._disks = [ServedSource(source) for source in sources.values()]
        sizes = [source.size for source in sources.values()]
        offers = [OfferedDisk(link.offer(d), s) for d, s in zip(self._disks, sizes, strict=True)]
        told = dict(zip(sources, offers, strict=True))
        try:
            self._number = link.call(HYPERVISOR, "boot", wanted, told, attempt, kind=int)
        except BaseException:
            self._let_go()
            raise

    def left_out(self) -> list[str]:
        return self._link.call(self._number, "left_out", kind=list[str])

    def is_running(self) -> bool:
        return self._link.call(self._number, "is_running", kind=bool)

    def console(self) -> str:
        return self._link.call(self._number, "console", kind=str)

    def agent_answers(self) -> bool:
        return self._link.call(self._number, "agent_answers", kind=bool)

    def run(self, script: str, seconds: int) -> tuple[int, str]:
        return self._link.call(self._number, "run", script, seconds, kind=tuple[int, str])

    def screen(self) -> bytes | None:
        return next(iter(self._link.call(self._number, "screen", kind=list[bytes])), None)

    def close(self) -> None:
        if self._open:
            self._open = False
            try:
                self._link.call(self._number, "close", kind=type(None))
            finally:
                self._let_go()

    def _let_go(self) -> None:
        for disk in self._disks:
            self._link.withdraw(disk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(HaulbackError):
            self.close()
