"""A repository with an object of every class, and every fault that an object can have."""

from __future__ import annotations

import random
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from haulback.destinations.folder import Folder
from haulback.destinations.protocol import ObjectStore
from haulback.errors import HaulbackError
from haulback.repository import pending_deletes
from haulback.repository.backup_loss import assess
from haulback.repository.damage import DamagedPlace
from haulback.repository.damage_report import record_findings
from haulback.repository.garbage_collection import CleanupOrder, clean_up
from haulback.repository.manifest import Manifest
from haulback.repository.pack import name_of, read_directory
from haulback.repository.pages import HOLE, unpack_inner, unpack_leaf
from haulback.repository.repair import RepairContext, RepairReport, repair
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import CheckOrder, Depth, VerifyReport, verify
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, export, noise, restored

SIZE = 17 * MIB + 513  # two leaves below one inner page
LIMITS = {
    "writer.PACK_BYTES": 192 * KIB,
    "writer.GROUP_BYTES": 48 * KIB,
    "writer.PAGE_GROUP_BYTES": 256,
    "index_tiers.FAN_IN": 2,
    "pack_verification.ALWAYS": 64,  # with so few groups a sample of one in fifty would be empty
}
FAULTS = ("flip", "truncate", "zero", "swap", "duplicate", "delete", "append")
CLASSES = (
    "data pack",
    "page pack",
    "pack head",
    "pack directory",
    "index segment",
    "merged segment",
    "manifest of a full",
    "manifest of a base",
    "configuration",
    "configuration copy",
    "grave",
    "announcement",
    "damage record",
    "roll",
    "roll copy",
    "tombstone",
    "revision",
)


class Held(NamedTuple):
    """A backup: its manifest, the bytes of its disk, and (pack, offset, length) of its groups."""

    manifest: Manifest
    data: bytes
    places: frozenset[tuple[bytes, int, int]]


def disk_of(seed: int) -> bytes:
    """A disk with random data at the beginning and across the edge of the first leaf, and zeros
    between.
    """
    data = bytearray(SIZE)
    data[: 300 * KIB] = noise(300 * KIB, seed)
    data[16 * MIB - 40 * KIB : 16 * MIB + 60 * KIB] = noise(100 * KIB, seed + 100)
    return bytes(data)


def places_of(repository: Repository, manifest: Manifest) -> frozenset[tuple[bytes, int, int]]:
    """The places of all groups that a backup needs, by the present index."""
    index, load = repository.index(), repository.reader().chunk
    wanted: set[bytes] = set()

    def walk(ref, depth):
        if ref == HOLE:
            return
        wanted.add(ref.id)
        page = load(ref)
        if depth:
            for child in unpack_inner(page):
                walk(child, depth - 1)
        else:
            wanted.update(p.ref.id for pieces in unpack_leaf(page) for p in pieces)

    for disk in manifest.disks:
        walk(disk.map.root, disk.map.depth)
    wanted.discard(HOLE.id)
    groups = {group for chunk in wanted for group in index.groups_of(chunk)}
    return frozenset(place for group in groups for place in index.places(group))


class Site:
    """A repository and its machine, with the operations on both."""

    def __init__(self, root: Path, pool: ThreadPoolExecutor) -> None:
        self.root, self.pool = root, pool
        self.held: dict[str, Held] = {}
        self.kit = ""
        self.disk = MemoryDisk(b"")
        self.last = ""  # the machine's newest backup
        self.page_packs: frozenset[str] = frozenset()

    def destination(self) -> ObjectStore:
        """The destination as a new process opens it."""
        return Folder(self.root / "d")

    def open(self) -> Repository:
        return Repository.open(self.destination(), SECRET)

    def room(self, name: str) -> Path:
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def path(self, name: str) -> Path:
        return self.root / "d" / name

    def names(self, folder: str) -> list[str]:
        return sorted(item.name for item in self.destination().list(folder))

    def copy(self, root: Path) -> Site:
        """A copy of the site in another folder."""
        root.mkdir()
        shutil.copytree(self.root / "d", root / "d", symlinks=True)
        made = Site(root, self.pool)
        self.given_to(made)
        return made

    def given_to(self, made: Site) -> None:
        """Copy the knowledge about the backups to a copy of the site."""
        made.held, made.kit, made.last = dict(self.held), self.kit, self.last
        made.disk = MemoryDisk(self.disk.data)
        made.page_packs = self.page_packs

    def keep(self, repository: Repository, manifest: Manifest, data: bytes) -> str:
        self.held[manifest.backup] = Held(manifest, data, places_of(repository, manifest))
        return manifest.backup

    def full(self) -> str:
        """Make a full backup of the machine's present content."""
        return self._back_up(None)

    def increment(self, at: int = 100 * KIB, seed: int = 0) -> str:
        """Write, and make an increment; the backup is full if the base is unusable, as in an
        export.
        """
        repository = self.open()
        self.disk.changed()
        self.disk.write_at(at, noise(40 * KIB, seed or random.randrange(1 << 30)))
        try:
            base = repository.manifest(self.last)
            if not (repository.index().is_damaged and assess(repository, base, thorough=False)):
                return self._back_up(base)
        except HaulbackError:
            return self._back_up(None)
        return self.mend(base)

    def mend(self, base: Manifest) -> str:
        """Make a backup that takes only chunk borders from its base, if the base is readable."""
        try:
            return self._back_up(base, distrust=True)
        except HaulbackError:
            return self._back_up(None)

    def _back_up(self, base: Manifest | None, *, distrust: bool = False) -> str:
        """Export in one process and store in another, as nodes do."""
        changed = self.disk.changed() if base else None
        draft = export(
            self.open(),
            self.disk,
            self.root / "s",
            self.pool,
            base.disks[0].map if base else None,
            changed,
            parent=base.backup if base and not distrust else None,
            distrust=distrust,
        )
        repository = self.open()
        manifest = repository.publish(self.root / "s", draft)
        record_findings(repository, "a test", 3)
        repository.merge_index(self.room("m"))
        self.last = self.keep(self.open(), manifest, bytes(self.disk.data))
        return self.last

    def clean(self, pins=frozenset, repository=None, **orders):
        orders.setdefault("now", lambda: 7)
        opened = repository or self.open()
        return clean_up(
            opened, self.room("c"), pins, Resources(self.pool), orders=CleanupOrder(**orders)
        )

    def verify(self, depth: Depth = Depth.DATA, *, record: bool = False) -> VerifyReport:
        signer = (lambda: ("a test", 1)) if record else None
        return verify(self.open(), depth, Resources(self.pool), CheckOrder(record=signer))

    def repair(self, *, apply: bool = True) -> RepairReport:
        context = RepairContext(
            self.room("w"), Resources(self.pool), lambda: ("a test", 1), (SECRET,)
        )
        return repair(self.open(), context, apply=apply)

    def restores(self, backup: str) -> bool:
        """Check whether a backup restores; a wrong byte fails the test."""
        _, data, _ = self.held[backup]
        try:
            repository = self.open()
            found = restored(repository, repository.manifest(backup), self.pool)
        except HaulbackError:
            return False
        assert found == data, "a wrong byte was restored in silence"
        return True

    def restoring(self) -> set[str]:
        return {backup for backup in self.held if self.restores(backup)}


def make(root: Path, pool: ThreadPoolExecutor, kind: type[Site] = Site) -> Site:
    """Make two machines, clean-ups, a merge, a deleted backup, a pending delete, an announcement, a
    damage record.
    """
    (root / "d").mkdir(parents=True)
    site = kind(root, pool)
    with limits():
        repository = Repository.init(Folder(root / "d"), SECRET)
        site.kit = repository.keys.kit(repository.guid)
        site.disk = MemoryDisk(disk_of(2))
        gone, _ = site.full(), site.full()
        site.clean()
        site.clean(forget=[gone])
        site.held.pop(gone)
        site.disk = MemoryDisk(disk_of(1))
        site.full()
        site.increment(seed=11)
        repository = site.open()
        pack = min(repository.objects.packs())
        spot = DamagedPlace(
            pack, read_directory(repository.destination, pack, repository.keys)[0].group
        )
        repository.damage_log.add("a test", 1, [spot], ())
        repository.damage_log.add("a test", 2, (), [spot])
        machine, site.disk = site.disk, MemoryDisk(noise(64 * KIB, 3))
        last, forgotten = site.last, site.full()
        site.disk, site.last = machine, last
        site.clean()
        site.open().forget(forgotten)
        del site.held[forgotten]
        with patch("haulback.repository.index_tiers.FAN_IN", 100):
            site.increment(at=16 * MIB - 20 * KIB, seed=12)
            unused = uuid.UUID(int=5).bytes
            pending_deletes.add(repository.destination, repository.keys, [unused], ["a store"])
            pending_deletes.add(repository.destination, repository.keys, [unused], None)
    index = site.open().index()
    for name, held in site.held.items():
        places = places_of(site.open(), held.manifest)
        site.held[name] = held._replace(places=places)
        root = index.place(held.manifest.disks[0].map.group)
        site.page_packs |= {name_of(root.pack)}
    return site


def limits(seed: int = 0) -> ExitStack:
    """Small packs and groups, and a reproducible random source."""

    # one random source per size, because the pool's threads only ask for nonces
    def drawn(size: int) -> bytes:
        return by_size.setdefault(size, random.Random(f"{size} {seed}")).randbytes(size)

    by_size: dict[int, random.Random] = {}
    stack = ExitStack()
    for name, value in LIMITS.items():
        stack.enter_context(patch(f"haulback.repository.{name}", value))
    chance = "haulback.repository.pack_verification.SystemRandom"
    stack.enter_context(patch(chance, lambda: random.Random(seed)))
    stack.enter_context(patch("os.urandom", drawn))
    return stack


class Target(NamedTuple):
    """An object with the byte range of its class, and other objects of the same class."""

    name: str
    low: int
    high: int
    others: list[str]


def target(site: Site, kind: str, chance: random.Random) -> Target:
    """An object of a class."""
    if "pack" in kind:
        return _pack(site, kind, chance)
    names = _named(site, kind)
    name = chance.choice(names)
    others = [other for other in _fellows(site, name) if other != name]
    return Target(name, 0, site.path(name).stat().st_size, others)


def _pack(site: Site, kind: str, chance: random.Random) -> Target:
    repository = site.open()
    pages: dict[str, tuple[int, bool]] = {}
    for pack in repository.objects.packs():
        entries = read_directory(repository.destination, pack, repository.keys)
        end = max(entry.place.offset + entry.place.length for entry in entries)
        pages[name_of(pack)] = (end, name_of(pack) in site.page_packs)
    is_page = kind == "page pack"
    chosen = [n for n, (_, page) in pages.items() if page == is_page or kind.startswith("pack ")]
    name = chance.choice(sorted(chosen))
    size, end = site.path(name).stat().st_size, pages[name][0]
    span = {"pack head": (0, 8), "pack directory": (end, size)}.get(kind, (8, end))
    return Target(name, *span, [other for other in sorted(chosen) if other != name])


def _named(site: Site, kind: str) -> list[str]:
    repository = site.open()
    live = repository.index().segments
    increments = [h.manifest for h in site.held.values() if h.manifest.parent]
    bases = {manifest.parent for manifest in increments}
    graves_read = pending_deletes.read(repository.objects, repository.keys)
    fulls = [h.manifest.backup for h in site.held.values() if not h.manifest.parent]
    return {
        "index segment": lambda: sorted(f"index/{s.name}" for s in live if len(s.replaces) < 2),
        "merged segment": lambda: sorted(f"index/{s.name}" for s in live if len(s.replaces) > 1),
        "manifest of a full": lambda: [f"manifests/{b}" for b in fulls if b not in bases],
        "manifest of a base": lambda: sorted(f"manifests/{b}" for b in bases),
        "configuration": lambda: ["haulback.json"],
        "configuration copy": lambda: ["haulback.copy.json"],
        "grave": lambda: sorted(n for n, item in graves_read.items() if item.pins is not None),
        "announcement": lambda: sorted(n for n, item in graves_read.items() if item.pins is None),
        "damage record": lambda: site.names("damage"),
        "roll": lambda: site.names("rolls"),
        "roll copy": lambda: site.names("rolls-copy"),
        "tombstone": lambda: site.names("tombstones"),
        "revision": lambda: ["graves/needs-haulback-revision-2"],
    }[kind]()


def _fellows(site: Site, name: str) -> list[str]:
    if "/" not in name:
        return ["haulback.json", "haulback.copy.json"]
    return site.names(name.partition("/")[0])


def strike(site: Site, kind: str, fault: str, chance: random.Random) -> tuple[Target, set[str]]:
    """Damage an object; returns the object, and the names whose content changed."""
    hit = target(site, kind, chance)
    path = site.path(hit.name)
    raw = bytearray(path.read_bytes())
    at = chance.randrange(hit.low, hit.high)
    names = {hit.name}
    if fault == "flip":
        raw[at] ^= 1 << chance.randrange(8)
    elif fault == "truncate":
        del raw[at:]
    elif fault == "zero":
        raw[:] = bytes(len(raw))
    elif fault == "append":
        raw += chance.randbytes(chance.randrange(1, 40))
    elif fault == "swap":
        names |= _swap(site, hit, chance)
        return hit, names
    elif fault == "duplicate":
        _duplicate(site, hit, chance)
        return hit, set()
    path.unlink()
    if fault != "delete":
        path.write_bytes(raw)
    return hit, names


def _swap(site: Site, hit: Target, chance: random.Random) -> set[str]:
    """Exchange two objects; an object without a second one of its class is exchanged with any
    object.
    """
    other = chance.choice(hit.others or site.names("manifests"))
    one, two = site.path(hit.name), site.path(other)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    return {other}


def _duplicate(site: Site, hit: Target, chance: random.Random) -> None:
    """Write the same bytes under another valid object name."""
    folder, _, leaf = hit.name.rpartition("/")
    if not folder:
        site.path(f"{leaf}.1").write_bytes(site.path(hit.name).read_bytes())
        return
    if folder.startswith("packs"):
        new = chance.randbytes(16).hex()
        folder = f"packs/{new[:2]}"
    elif folder in ("manifests", "tombstones"):
        new = str(uuid.UUID(bytes=chance.randbytes(16)))
    elif folder in ("damage", "rolls", "rolls-copy"):
        new = f"{int(site.names(folder)[-1].rpartition('/')[2]) + 1 + chance.randrange(3):08d}"
    elif leaf.startswith("needs"):
        new = "needs-haulback-revision-1"
    else:
        new = chance.randbytes(len(leaf) // 2).hex()
    site.path(folder).mkdir(exist_ok=True)
    if not site.path(f"{folder}/{new}").exists():
        site.path(f"{folder}/{new}").write_bytes(site.path(hit.name).read_bytes())


def hurt_backups(site: Site, names: set[str], before: dict[str, bytes]) -> set[str]:
    """Backups that have an object with changed content."""
    result = set()
    for backup, held in site.held.items():
        if f"manifests/{backup}" in names:
            result.add(backup)
        for pack, offset, length in held.places:
            name = f"packs/{pack.hex()[:2]}/{pack.hex()}"
            if name in names:
                path = site.path(name)
                now = path.read_bytes() if path.exists() else b""
                if now[offset : offset + length] != before[name][offset : offset + length]:
                    result.add(backup)
    return result
