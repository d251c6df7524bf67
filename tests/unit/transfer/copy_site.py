"""Two repositories, and short functions to back up to one and to copy to the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from haulback.destinations.folder import Folder
from haulback.destinations.protocol import ObjectStore
from haulback.durable_files import DurableFiles
from haulback.ids import new_guid
from haulback.repository.garbage_collection import CleanupReport, clean_up
from haulback.repository.keys import Secret
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.transfer.copy import CopyResult, CopyWish, copy_backup, heal_backup
from haulback.transfer.portions import CopyServices
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, restored

OTHER = Secret("keyfile", b"another key of thirty-two bytes!")


class CopySite:
    """A source repository `first`, a target `second`, and the contents of all backups."""

    def __init__(self, root: Path, pool: ThreadPoolExecutor, *, family: bool = True) -> None:
        self.root, self.pool = root, pool
        self.first = Repository.init(self.place("first"), SECRET)
        keys = self.first.keys if family else None
        self.second = Repository.init(self.place("second"), OTHER, family=keys)
        self.contents: dict[str, bytes] = {}
        self.attempts = 0

    def place(self, name: str) -> Folder:
        (self.root / name).mkdir(exist_ok=True)
        return Folder(self.root / name)

    def new_target(self) -> None:
        """An empty target repository of the family in place of the target."""
        shutil.rmtree(self.root / "second")
        keys = self.first.keys
        self.second = Repository.init(self.place("second"), OTHER, family=keys)

    def opened(self, name: str, disk: DurableFiles | None = None) -> Repository:
        """A repository as another process opens it."""
        secret = {"first": SECRET, "second": OTHER, "third": SECRET}[name]
        return Repository.open(Folder(self.root / name, disk), secret)

    def back_up(self, disk: MemoryDisk, base: Manifest | None = None) -> Manifest:
        """A backup in the source repository."""
        changed = disk.changed()
        made = back_up(
            self.opened("first"),
            disk,
            self.root / "staging",
            self.pool,
            base.disks[0].map if base else None,
            changed if base else None,
            parent=base.backup if base else None,
        )
        self.contents[made.backup] = bytes(disk.data)
        return made

    def copy(
        self,
        backup: Manifest,
        older: Manifest | None = None,
        guid: str | None = None,
        *,
        disk: DurableFiles | None = None,
        confirm: Callable[[], None] = lambda: None,
        route: tuple[str, str] = ("first", "second"),
        heals: bool = False,
    ) -> CopyResult:
        """The copy of a backup from the first to the second repository of the route."""
        self.attempts += 1
        folder = self.root / f"copy{self.attempts}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        io = disk or DurableFiles()
        services = CopyServices(folder, Resources(self.pool, io, confirm=confirm))
        wish = CopyWish(backup.backup, guid or new_guid(), older.backup if older else None)
        act = heal_backup if heals else copy_backup
        source, target = route
        made = act(self.opened(source), self.opened(target, disk), wish, services)
        self.contents[made.manifest.backup] = self.contents[backup.backup]
        return made

    def clean(self, name: str, pins: frozenset[str] = frozenset()) -> CleanupReport:
        folder = self.root / "clean"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return clean_up(self.opened(name), folder, lambda: pins, Resources(self.pool))

    def forget(self, name: str, backup: Manifest) -> None:
        self.opened(name).forget(backup.backup)

    def restores(self, name: str, backup: Manifest) -> bool:
        """Check whether a backup in a repository restores the machine's content."""
        return restored(self.opened(name), backup, self.pool) == self.contents[backup.backup]


def bytes_in(store: ObjectStore, folder: str = "packs") -> int:
    return sum(item.size for item in store.list(folder))
