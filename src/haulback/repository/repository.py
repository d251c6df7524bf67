"""A repository on a destination: made, opened, listed, written to and read from."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from haulback.destinations.protocol import Destination
from haulback.disk import Disk
from haulback.errors import (
    BaseGone,
    Conflict,
    Damaged,
    Forbidden,
    NotFound,
    RepositoryError,
    Unavailable,
)
from haulback.repository import graves, reuse
from haulback.repository import manifest as manifests
from haulback.repository import merge as merging
from haulback.repository import pack as packs
from haulback.repository.index import Index
from haulback.repository.keys import Keys, Secret, Slot
from haulback.repository.manifest import Manifest
from haulback.repository.reader import Reader
from haulback.repository.segment import Segment
from haulback.repository.writer import Staged, Writer

CONFIG = "haulback.json"
_MANIFEST_FILE = "manifest.json"
_LISTINGS = 10


class Config(msgspec.Struct, frozen=True):
    """The one object in the clear: which repository this is and how its key is wrapped.

    `check` is a sealed copy of the guid, so that a swapped config is noticed.
    """

    repository: str
    slots: list[Slot]
    check: bytes
    version: int = manifests.FORMAT_VERSION


class Draft(msgspec.Struct, frozen=True):
    """What an export left in staging: the manifest and the files to publish before it."""

    manifest: Manifest
    packs: list[str]
    segments: list[str]


class Repository:
    """An open repository.  Threads may share it for reading; a Writer belongs to one thread."""

    def __init__(self, destination: Destination, guid: str, keys: Keys) -> None:
        self.destination, self.guid, self.keys = destination, guid, keys
        self._segments: dict[str, Segment] = {}

    @classmethod
    def init(cls, destination: Destination, *secrets: Secret) -> Repository:
        """Make a repository.  Raises Conflict when the destination holds one already."""
        keys, guid = Keys.generate(), str(uuid.uuid4())
        check = keys.seal("config", b"", guid.encode())
        config = Config(guid, [keys.wrap(secret) for secret in secrets], check)
        try:
            destination.store(CONFIG, msgspec.json.encode(config))
        except Conflict:
            raise Conflict("the destination holds a repository already") from None
        return cls(destination, guid, keys)

    @classmethod
    def open(cls, destination: Destination, secret: Secret | Keys) -> Repository:
        """Open a repository.  Raises NotFound, WrongKey or Damaged."""
        config = read_config(destination)
        keys = secret if isinstance(secret, Keys) else Keys.unwrap(config.slots, secret)
        try:
            guid = keys.unseal("config", b"", config.check).decode()
        except Exception as error:
            raise Damaged(f"{CONFIG} is damaged or belongs to another key") from error
        if guid != config.repository:
            raise Damaged(f"{CONFIG} names another repository than its key does")
        return cls(destination, guid, keys)

    def index(self, without: Set[bytes] = frozenset()) -> Index:
        """What is stored now, except in the packs `without`.  Raises Damaged.

        Segments seen before stay mapped.
        """
        for _ in range(_LISTINGS):
            try:
                return Index(self._live(), without)
            except NotFound:
                continue  # swept since it was listed; what replaces it is in the next listing
        raise Unavailable("the index changes faster than it can be read; try again")

    def merge_index(self, folder: Path, disk: Disk | None = None) -> int:
        """Keep the number of segments logarithmic; returns how many merges that took.

        Only adds to the destination; `folder` holds the merged file for a moment.  Call it after
        `publish`; to leave it out costs speed, never correctness.
        """
        done = 0
        while segments := merging.due(self.index().segments):
            names = {segment.name for segment in segments}
            replaced = names.union(*(segment.replaces for segment in segments))
            stored = replaced & {leaf_of(item.name) for item in self.destination.list("index")}
            path = merging.merge(segments, sorted(stored), folder, self.keys, disk or Disk())
            self.destination.adopt(f"index/{path.stem}", path)
            done += 1
        return done

    def sweep_index(self) -> int:
        """Delete segments that an opened one replaces; needs the right to delete."""
        replaced = {name for segment in self.index().segments for name in segment.replaces}
        listed = [item.name for item in self.destination.list("index")]
        gone = [name for name in listed if leaf_of(name) in replaced]
        for name in gone:
            self.destination.delete(name)
        return len(gone)

    def _live(self) -> list[Segment]:
        """The segments that no other replaces.  One that replaces is larger than each it does."""
        items = sorted(self.destination.list("index"), key=lambda item: item.size, reverse=True)
        opened: dict[str, Segment] = {}
        replaced: set[str] = set()
        for name in (leaf_of(item.name) for item in items):
            if name not in replaced:
                known = self._segments.get(name)
                opened[name] = self._open_segment(name) if known is None else known
                replaced.update(opened[name].replaces)
        self._segments = opened
        return [segment for name, segment in opened.items() if name not in replaced]

    def _open_segment(self, name: str) -> Segment:
        path = self.destination.local_path(f"index/{name}")
        if path is None:
            raise RepositoryError("this destination has no local index cache")
        return Segment.open(path, name, self.keys)

    def reader(self) -> Reader:
        return Reader(self.destination, self.index(), self.keys)

    def writer(self, folder: Path, pool: ThreadPoolExecutor, disk: Disk | None = None) -> Writer:
        """A writer that stages into `folder` (empty, owned by the caller).

        It reuses nothing from packs that a clean-up is about to drop.
        """
        index = self.index(graves.announced(graves.read(self.destination, self.keys)))
        return Writer(self.keys, index, folder, disk or Disk(), pool)

    def backups(self) -> Iterator[Manifest]:
        """Every backup's manifest; reads no map."""
        for item in self.destination.list("manifests"):
            yield self.manifest(leaf_of(item.name))

    def manifest(self, backup: str) -> Manifest:
        """One backup's record.  Raises NotFound or Damaged."""
        try:
            sealed = self.destination.load(manifests.name_of(backup))
        except NotFound:
            raise NotFound(f"backup {backup} is not in this repository", backup=backup) from None
        return manifests.decode(sealed, backup, self.keys)

    def forget(self, backup: str) -> None:
        """Delete a backup: from now on it does not exist.  A missing one is fine.

        Its space comes back with the next clean-up.  Needs the right to delete.
        """
        self.destination.delete(manifests.name_of(backup))

    def draft(self, folder: Path, staged: Staged, manifest: Manifest, disk: Disk) -> Draft:
        """Record durably in staging what is to be published; the export is complete after it."""
        draft = Draft(manifest, [p.name for p in staged.packs], [p.name for p in staged.segments])
        sealed = self.keys.seal("draft", manifest.backup.encode(), msgspec.json.encode(draft))
        disk.write_file(folder / _MANIFEST_FILE, sealed)
        return draft

    def read_draft(self, folder: Path, backup: str) -> Draft:
        """The draft of `backup` in a staging folder.  Raises NotFound or Damaged."""
        try:
            sealed = (folder / _MANIFEST_FILE).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"staging {folder} holds no finished export") from None
        try:
            plain = self.keys.unseal("draft", backup.encode(), sealed)
        except Exception as error:
            raise Damaged(f"the draft of backup {backup} in {folder} is damaged") from error
        return msgspec.json.decode(plain, type=Draft)

    def publish(self, folder: Path, draft: Draft, disk: Disk | None = None) -> Manifest:
        """Make a staged backup exist: packs, then index, then the manifest.

        Safe to repeat from the start after a crash at any point.  Raises BaseGone when something
        that the backup reuses was cleaned up meanwhile: then it has to be exported again.
        """
        for file in draft.packs:
            if not self._publish_file(folder / file, packs.name_of(_pack_of(file))):
                raise Damaged(f"{folder / file} vanished from staging before it was published")
        for file in draft.segments:
            self._publish_file(folder / file, f"index/{Path(file).stem}")
        # Before, so that a broken backup rarely appears; after, because only a clean-up that lists
        # manifests from then on sees this one.
        self._uphold(folder, draft, disk or Disk())
        is_new = self._store_manifest(draft.manifest)
        try:
            self._uphold(folder, draft, disk or Disk())
        except BaseGone:
            if is_new:
                with suppress(Forbidden):
                    self.forget(draft.manifest.backup)
            raise
        return draft.manifest

    def _store_manifest(self, manifest: Manifest) -> bool:
        """Whether it was not there yet.  Raises Conflict when another stands in its place."""
        name = manifests.name_of(manifest.backup)
        try:
            self.destination.store(name, manifests.encode(manifest, self.keys))
        except Conflict:
            if self.manifest(manifest.backup) != manifest:
                raise
            return False
        return True

    def _uphold(self, folder: Path, draft: Draft, disk: Disk) -> None:
        """See that everything a backup refers to is stored, and will stay.  Raises BaseGone.

        Without its manifest a backup's own packs look dead to a clean-up.  They wait for the end of
        this STORE (docs/design/locking.md), and are put back into the index here.
        """
        own = {_pack_of(file) for file in draft.packs}
        going = graves.announced(graves.read(self.destination, self.keys))
        index = self.index()
        lost = self._dropped(draft, index, own & going)
        if lost:
            reuse.place_again(lost, folder, self.keys, disk, self.destination)
            index = self.index()
        index = Index(index.segments, going - own)
        load = Reader(self.destination, index, self.keys).chunk
        reuse.check(draft.manifest, self._parent(draft.manifest), index, load, self.destination)

    def _dropped(self, draft: Draft, index: Index, going: Set[bytes]) -> list[packs.Entry]:
        """Groups of the draft's packs that the index lost, or loses with the packs `going`."""
        live = {segment.name for segment in index.segments}
        if not going and live.issuperset(Path(file).stem for file in draft.segments):
            return []
        return [
            entry
            for pack in map(_pack_of, draft.packs)
            for entry in packs.read_directory(self.destination, pack, self.keys)
            if pack in going or not index.place(entry.group)
        ]

    def _parent(self, manifest: Manifest) -> Manifest | None:
        try:
            return self.manifest(manifest.parent) if manifest.parent else None
        except (NotFound, Damaged):
            return None  # then nothing is taken for granted

    def _publish_file(self, path: Path, name: str) -> bool:
        """Whether the object is stored: adopted now, or by an earlier try."""
        if path.exists():
            self.destination.adopt(name, path)
            return True
        try:
            self.destination.info(name)
        except NotFound:
            return False
        return True


def _pack_of(file: str) -> bytes:
    return bytes.fromhex(Path(file).stem)


def leaf_of(name: str) -> str:
    """The last part of an object's name."""
    return name.rpartition("/")[2]


def read_config(destination: Destination) -> Config:
    """The repository's config, not yet authenticated.  Raises NotFound or Damaged."""
    try:
        return msgspec.json.decode(destination.load(CONFIG), type=Config)
    except NotFound:
        raise NotFound("there is no repository on this destination; init one first") from None
    except msgspec.DecodeError as error:
        raise Damaged(f"{CONFIG} is damaged: {error}") from error
