"""Default methods for hypervisors that store machines and cannot run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from haulback.drivers.hypervisor import Booted, Machine, MachineSource, NewMachine
from haulback.drivers.source import Source
from haulback.errors import SourceChanged, Unsupported


class Still:
    """Implementation of all Hypervisor methods that need a running machine: they refuse."""

    def machine(self, uuid: str) -> Machine:
        raise NotImplementedError

    def create_over(self, wanted: Machine, share: Path, attempt: str) -> NewMachine:  # noqa: ARG002
        raise Unsupported(f"no machine can run here, so {wanted.name} cannot run from a share")

    def on_share(self, socket: Path) -> list[Machine]:  # noqa: ARG002
        return []

    def go_on(self, socket: Path) -> list[str]:  # noqa: ARG002
        return []

    def make_own(self, uuid: str, count: Callable[[int], None]) -> None:  # noqa: ARG002
        raise SourceChanged(f"{self.machine(uuid).name} is not running")

    def move(  # parameters of the Protocol
        self,
        uuid: str,
        there: MachineSource,  # noqa: ARG002
        attempt: str,  # noqa: ARG002
        expect: Callable[[int], None],  # noqa: ARG002
        count: Callable[[int], None],  # noqa: ARG002
    ) -> Machine:
        raise SourceChanged(f"{self.machine(uuid).name} is not running")

    def boot(  # parameters of the Protocol
        self,
        wanted: Machine,
        sources: Mapping[str, Source],  # noqa: ARG002
        attempt: str,  # noqa: ARG002
    ) -> Booted:
        raise Unsupported(f"no machine can run here, so {wanted.name} cannot boot")

    def around(
        self,
        uuid: str,  # noqa: ARG002
        before: str,  # noqa: ARG002
        after: str,  # noqa: ARG002
        warn: Callable[[str], None],  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        return nullcontext()

    def unpack(self, uuid: str, parts: Iterable[bytes], folder: str, name: str) -> None:  # noqa: ARG002
        raise SourceChanged(f"{self.machine(uuid).name} is not running")

    def start(self, uuid: str) -> None:
        raise Unsupported(f"no machine can run here, so {self.machine(uuid).name} cannot start")

    def close(self) -> None:
        """Do nothing: no connection is open."""
