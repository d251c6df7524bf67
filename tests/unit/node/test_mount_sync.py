"""The supervisor of mounts tells the server what the mounts of the node have met."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from haulback.contract.damage import DamageReport
from haulback.errors import HaulbackError, Unavailable
from haulback.ids import new_guid
from haulback.node.mount_sync import MountSync

MOUNT = new_guid()


class Server:
    """A server that wants one mount and keeps the reports that it gets."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[DamageReport]]] = []
        self.refuses: HaulbackError | None = None

    def needed(self, names: list[str]) -> list[str]:
        return names

    def shares(self) -> list[str]:
        return [MOUNT]

    def share(self, guid: str, kind: type[object]) -> object:
        return SimpleNamespace(mount=guid, hypervisor=None)

    def met_damage(self, guid: str, reports: list[DamageReport]) -> None:
        if self.refuses:
            raise self.refuses
        self.told.append((guid, reports))


def test_damage_that_a_mount_has_met_is_told_once_and_again_after_a_failure():
    met: list[DamageReport] = []
    shares = SimpleNamespace(
        all=lambda: [MOUNT], beginning=lambda _: 1, lives=lambda _: True, damage=lambda _: [*met]
    )
    server: Any = Server()
    home: Any = SimpleNamespace(shares=shares)
    sync = MountSync(server, home)
    sync.look()
    assert server.told == []
    met.append(DamageReport(new_guid(), objects=["packs/ab/abcd"]))
    server.refuses = Unavailable("the server is away")
    sync.look()
    server.refuses = None
    for _ in range(2):
        sync.look()
    assert server.told == [(MOUNT, met)]
    met.append(DamageReport(new_guid(), objects=["packs/cd/cdef"]))
    sync.look()
    assert server.told[1:] == [(MOUNT, met)]
