"""A repository on a destination: create, open, list, write and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import msgspec

from haulback.destinations.protocol import ObjectStore
from haulback.durable_files import DurableFiles
from haulback.errors import (
    BaseGone,
    Conflict,
    Damaged,
    Forbidden,
    NotFound,
)
from haulback.repository import config, dedup_check, pending_deletes
from haulback.repository import manifest as manifests
from haulback.repository import pack as packs
from haulback.repository.damage import DamagedPlace, DamageLog, RepositoryDamage
from haulback.repository.extracts import Extracts
from haulback.repository.group_cache import GroupCache, NearGroups
from haulback.repository.index import Index
from haulback.repository.index_cache import CacheFolder, IndexCache
from haulback.repository.index_folder import IndexFolder
from haulback.repository.keys import Keys, Secret
from haulback.repository.manifest import Manifest
from haulback.repository.mapping import PAGES_BEFORE
from haulback.repository.names import Objects
from haulback.repository.object_lock import ObjectLocks
from haulback.repository.owners import Owners, Ownership
from haulback.repository.pack_lookup import UnindexedCopies
from haulback.repository.pack_upload import pack_of, publish_packs
from haulback.repository.pack_verification import PackMemory, ReuseProof
from haulback.repository.reader import Finding, Findings, LazyReader, Reader
from haulback.repository.recent_reads import RecentReads
from haulback.repository.repository_state import READ_FOLDERS, WRITE_FOLDERS, RepositoryState
from haulback.repository.resources import Resources
from haulback.repository.roll import Rolls
from haulback.repository.staged_packs import StagedPacks
from haulback.repository.writer import Staged, Writer

_MANIFEST_FILE = "manifest.json"
_FINDINGS_REPORTED = 10_000  # places that one report lists


class Draft(msgspec.Struct, frozen=True):
    """The result of an export in staging: the manifest and the files to publish before it.

    `findings` are places that the export could not read.  `are_portions` is true if the packs were
    published earlier as portions, with their index files.  `pages` are the packs with map pages.
    """

    manifest: Manifest
    packs: list[str]
    segments: list[str]
    findings: list[Finding] = []
    are_portions: bool = False
    pages: list[str] = []


class Repository:
    """An open repository.  Threads may share a repository for reading; a Writer belongs to one
    thread.

    `others` open other repositories of the family, which hold other locations of the backups that
    are read; their readers supply chunks that cannot be read here.

    `findings` collects every place that could not be read through this object; `problems` are
    damaged or missing copies of the configuration.
    """

    def __init__(
        self, destination: ObjectStore, guid: str, keys: Keys, cache: CacheFolder | None = None
    ) -> None:
        self.destination, self.guid, self.keys = destination, guid, keys
        self.objects = Objects(destination)
        self.problems: dict[str, str] = {}
        self.findings = Findings()
        self.damage_log = DamageLog(destination, self.objects, keys)
        self.rolls = Rolls(destination, self.objects, keys)
        self.owners = Owners(destination, self.objects, keys)
        self.extracts = Extracts(destination, self.objects, keys)
        self.locks = ObjectLocks(destination)
        self.ownership: Ownership | None = None  # the owner check of the writing server
        copies = IndexCache(destination, guid, keys, cache)
        self.index_folder = IndexFolder(destination, self.objects, keys, copies)
        self.groups = GroupCache(guid, cache)
        self.recorded: dict[DamagedPlace, str] = {}  # the damage recorded through this object
        self.listing_delay: float | None = 0.0  # seconds by which listings lag; None if unknown
        self.unreliable = ""  # the reason why widespread read failures were not recorded
        self.unrecorded = ""  # the reason why the destination took no record of damage
        self.others: list[Callable[[], Repository]] = []
        self._pending = pending_deletes.Opener(destination, keys)
        self.seen: RepositoryState | None = None  # the last state that a writer read
        self._recent = RecentReads()
        self._is_whole = False  # whether the configuration and its copy were read and are equal
        self._may_write = False

    @classmethod
    def init(
        cls, destination: ObjectStore, *secrets: Secret, family: Keys | None = None
    ) -> Repository:
        """Create a repository; with the keys of a `family` it becomes a member of that family.

        Raises Conflict if the destination already holds a repository.
        """
        keys, guid = Keys(family.master) if family else Keys.generate(), str(uuid4())
        config.create(destination, config.encode(guid, keys, secrets))
        return cls(destination, guid, keys)

    @classmethod
    def open(
        cls,
        destination: ObjectStore,
        secret: Secret | Keys,
        cache: CacheFolder | None = None,
        recent: RecentReads | None = None,
    ) -> Repository:
        """Open a repository; `cache` keeps map pages, and index files of remote stores; `recent`
        has what the process has just read from the same destination.

        Raises NotFound, WrongKey or Damaged.
        """
        identity = config.open_identity(destination, secret, recent.configs if recent else None)
        opened = cls(destination, identity.guid, identity.keys, cache)
        opened.problems, opened._is_whole = identity.problems, identity.is_whole
        if recent:
            opened._recall(recent.of(identity.guid))
        return opened

    def _recall(self, recent: RecentReads) -> None:
        self._recent, self.owners.recent = recent, recent.owners
        if recent.state and recent.state.is_young:
            self.seen = recent.state
            self.index_folder.use(recent.state.segments)

    def is_itself(self) -> bool:
        """Whether the identity object can be read now and belongs to this repository."""
        return config.confirm(self.destination, self.guid, self.keys)

    def begin_writing(self) -> None:
        """Raise the revision of the repository, so that older versions refuse to write to it.

        Raises RepositoryError when a newer version writes to it, OwnerChanged when another server
        owns it.
        """
        if not self._may_write:
            graves = self.seen.graves if self.seen else self._graves()
            if self.ownership:
                self.ownership.begin()
            if config.REVISION_OBJECT not in graves:
                config.raise_revision(self.destination, self.keys)
            if not self._is_whole:
                config.complete(self.destination, self.guid, self.keys)
            self._may_write = True

    def _graves(self) -> Set[str]:
        names = {item.name for item in self.objects.list("graves")}
        for name in names:
            config.check_revision(name)
        return names

    def check_owner(self) -> None:
        """Raise OwnerChanged when another server has taken the repository over."""
        if self.ownership:
            self.ownership.check()

    def check_deletion(self) -> None:
        """Raise OwnerChanged, or Conflict while a new owner may not delete yet."""
        if self.ownership:
            self.ownership.check_deletion()

    def damage(self) -> RepositoryDamage:
        """The places that are recorded as damaged now."""
        return self.damage_log.state()

    @property
    def closed(self) -> set[bytes]:
        """Packs whose directory could not be read when the index was completed."""
        return self.index_folder.closed

    def index(self, without: Set[bytes] = frozenset()) -> Index:
        """The index of the stored chunks, except those in the packs `without` and at damaged
        places.

        A pack that was recorded as missing and exists again counts up to its present length. Raises
        Unavailable.
        """
        listed = self.objects.list_many(READ_FOLDERS)
        segments = self.index_folder.segments(listed["index"])
        return Index(segments, without, self._sized(self.damage_log.state(listed["damage"])))

    def look(self) -> RepositoryState:
        """The state that a writer needs.  Raises RepositoryError if a newer version writes here."""
        listed = self.objects.list_many(WRITE_FOLDERS)
        graves = frozenset(item.name for item in listed["graves"])
        pending = self._pending.opened(sorted(graves))
        segments = self.index_folder.segments(listed["index"])
        damage = self._sized(self.damage_log.state(listed["damage"]))
        self.seen = self._recent.state = RepositoryState(segments, damage, pending, graves)
        return self.seen

    def _sized(self, damage: RepositoryDamage) -> RepositoryDamage:
        """The damage with the present lengths of packs that are recorded as a whole."""
        sizes: dict[bytes, int] = {}
        for pack in damage.whole:
            with suppress(NotFound, Damaged):
                sizes[pack] = self.destination.info(packs.name_of(pack)).size
        return damage.within(sizes)

    def merge_index(self, folder: Path, disk: DurableFiles | None = None) -> int:
        """Merge index files so that their number stays logarithmic; return the number of merges.

        Only adds to the destination; `folder` holds the merged file temporarily.  Call it after
        `publish`; without it the repository is slower but correct.
        """
        seen, disk = self.seen, disk or DurableFiles()
        if seen and not self.index_folder.is_due(seen.segments):
            return 0
        if not (seen and seen.is_young) or self.recorded or self.index_folder.damaged:
            return self.index_folder.merge(folder, disk, self.damage())[0]
        done, segments = self.index_folder.merge(folder, disk, seen.damage, seen.segments)
        self.seen = replace(seen, segments=segments)
        return done

    def sweep_index(self) -> int:
        """Delete index files that an opened file replaces; needs the right to delete."""
        return self.index_folder.sweep()

    def reader(self, *, thorough: bool = True, look: RepositoryState | None = None) -> Reader:
        """A reader of the stored chunks, in the present state or in an earlier state `look`; the
        latter uses the groups that this machine keeps.

        For a chunk that the index does not list, a `thorough` reader reads pack directories before
        the chunk counts as damaged; that may take minutes.
        """
        index = look.index() if look else self.index()
        elsewhere = self.elsewhere(index) if thorough else None
        made = Reader(self.destination, index, self.keys, self.findings, elsewhere)
        made.others = tuple(map(self._other, self.others)) if thorough else ()
        made.near = NearGroups(self.groups) if look else None
        return made

    def _other(self, open_it: Callable[[], Repository]) -> LazyReader:
        return LazyReader(lambda: open_it().reader())

    def elsewhere(self, index: Index) -> UnindexedCopies:
        """Places that `index` does not know."""
        return UnindexedCopies(self.destination, self.objects, self.keys, index)

    def writer(
        self,
        folder: Path,
        pool: ThreadPoolExecutor,
        disk: DurableFiles | None = None,
        memory: PackMemory | None = None,
        look: RepositoryState | None = None,
    ) -> Writer:
        """A writer that stages into the empty `folder`, with a given or a new state `look`.

        The writer reuses no damaged chunk and no chunk in a pack that a clean-up is about to
        delete; `memory` remembers the packs that passed an earlier check.
        """
        look = look or self.look()
        index = look.index(look.announced)
        proof = ReuseProof(self.destination, index, self.keys, self.findings, memory)
        resources = Resources(pool, disk or DurableFiles())
        return Writer(self.keys, index, folder, resources, proof)

    def backups(self) -> Iterator[Manifest]:
        """The manifest of every backup; no map is read."""
        for backup in sorted(self.objects.leaves("manifests")):
            yield self.manifest(backup)

    def manifest(self, backup: str) -> Manifest:
        """The manifest of a backup.  Raises NotFound or Damaged."""
        try:
            sealed = self.destination.load(manifests.name_of(backup))
        except NotFound:
            raise NotFound(f"backup {backup} is not in this repository", backup=backup) from None
        manifest = manifests.decode(sealed, backup, self.keys)
        self._recent.manifests.put(backup, manifest)
        return manifest

    def forget(self, backup: str) -> None:
        """Delete a backup by deleting its manifest.  A missing backup is no error.

        The next clean-up frees its space.  Needs the right to delete.  The tombstone is written
        first, because otherwise the missing manifest would count as lost.
        """
        name = manifests.name_of(backup)
        self.check_owner()
        self.rolls.write_tombstone(backup)
        self.destination.delete(name)

    def draft(self, folder: Path, staged: Staged, manifest: Manifest, disk: DurableFiles) -> Draft:
        """Record the files to publish durably in staging; the export is complete after it."""
        draft = Draft(
            manifest,
            [path.name for path in staged.packs],
            [path.name for path in staged.segments],
            self.findings.reported(_FINDINGS_REPORTED),
            pages=[path.name for path in staged.pages],
        )
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

    def publish(
        self, folder: Path, draft: Draft, disk: DurableFiles | None = None, lock: int = 0
    ) -> Manifest:
        """Publish a staged backup: packs, then index, then the manifest.

        A store that keeps locks keeps all of it for at least `lock` ms: the packs are locked before
        the manifest is stored, and if that fails the manifest is not stored.

        Safe to repeat from the start after a crash at any point.  Raises BaseGone if a clean-up has
        deleted data that the backup reuses; the machine must then be exported again.
        """
        if not (self.seen and self.seen.is_young):
            self.look()  # reads the revision; the check after a short upload uses this state
        self.begin_writing()
        self.findings.hear(draft.findings)
        with StagedPacks(self.destination, [folder / file for file in draft.pages]) as staged:
            return self._publish(folder, draft, staged, disk or DurableFiles(), lock)

    def _publish(
        self, folder: Path, draft: Draft, staged: StagedPacks, disk: DurableFiles, lock: int
    ) -> Manifest:
        if not draft.are_portions:
            publish_packs(self.destination, [folder / file for file in draft.packs])
        for file in draft.segments:
            self.index_folder.publish(folder / file)
        # The check before the manifest makes broken backups rare.  The check after the manifest
        # decides, because only a later clean-up sees the manifest; only facts that have changed
        # since are looked up again.
        evidence = self._uphold(folder, draft, disk, staged)
        self._hold_data(draft.manifest, lock)
        is_new = self._store_manifest(draft.manifest)
        self.locks.hold_manifest(draft.manifest, lock)
        try:
            self._uphold(folder, draft, disk, staged, evidence)
        except BaseGone:
            if is_new:
                with suppress(Forbidden, Conflict):
                    self.forget(draft.manifest.backup)
            raise
        own = self.index_folder.opened([Path(file).stem for file in draft.segments])
        self.groups.keep(staged.records(own or ()))
        return draft.manifest

    def _hold_data(self, manifest: Manifest, lock: int) -> None:
        if not (lock and self.locks.are_kept):
            return
        index = self.index()
        load = Reader(self.destination, index, self.keys, self.findings).chunk
        parent = None if index.is_damaged else self._parent(manifest)
        self.locks.hold_data(manifest, parent, lock, index, load)

    def publish_portion(self, folder: Path, staged: Staged) -> list[str]:
        """Publish a finished part of a backup before its manifest; returns the names of the packs.

        Without a manifest a later writer may reuse the part, and a clean-up may delete it.
        """
        self.begin_writing()
        files = [folder / path.name for path in staged.packs]
        publish_packs(self.destination, files, are_needed=False)
        for path in staged.segments:
            self.index_folder.publish(folder / path.name)
        return [path.name for path in staged.packs]

    def is_of_family(self, other: Repository) -> bool:
        """Whether both repositories have one master key, so that each reads the other's groups."""
        return self.keys.master == other.keys.master

    def _store_manifest(self, manifest: Manifest) -> bool:
        """Whether the manifest is new.  Raises Conflict when another manifest has its name."""
        name = manifests.name_of(manifest.backup)
        self.check_owner()
        try:
            self.destination.store(name, manifests.encode(manifest, self.keys))
        except Conflict:
            if self.manifest(manifest.backup) != manifest:
                raise
            return False
        return True

    def _uphold(
        self,
        folder: Path,
        draft: Draft,
        disk: DurableFiles,
        staged: ObjectStore,
        before: dedup_check.ReuseEvidence | None = None,
    ) -> dedup_check.ReuseEvidence:
        """Check that everything a backup refers to is stored and stays stored; `before` is the
        evidence of an earlier check, and new pages are read from `staged`.  Raises BaseGone.

        Until its manifest exists, a backup's own packs look dead to a clean-up.  The pending delete
        of these packs waits for the end of this STORE (docs/design/locking.md), and the packs
        return to the index here.
        """
        own = {pack_of(file) for file in draft.packs}
        look = self._before_manifest(draft) if before is None else self.look()
        going, index = look.announced, look.index()
        lost = self._dropped(draft, index, own, own & going)
        if lost:
            dedup_check.place_again(lost, folder, self.keys, disk, self.index_folder.store)
            index = self.index()
        index = Index(index.segments, going - own, index.damage)
        reader = Reader(staged, index, self.keys, self.findings)
        reader.near = NearGroups(self.groups)
        # While damage is recorded the parent may be damaged, too: then every chunk is checked.
        known = None if before else self._recent.manifests.get(draft.manifest.parent or "")
        parent = None if index.is_damaged else known or self._parent(draft.manifest)
        if before and dedup_check.still_holds(before, index, parent, self.destination):
            return before
        reader.expect((disk.map.root for disk in parent.disks) if parent else (), PAGES_BEFORE)
        try:
            # This process has just stored or found its packs; the second check looks them up.
            stored = own if before is None and not draft.are_portions else set[bytes]()
            store = dedup_check.PackStore(self.destination, stored)
            return dedup_check.check(draft.manifest, parent, index, reader.chunk, store)
        except Damaged as error:
            if self.listing_delay == 0:
                raise
            # The index file of a page that another task has just stored may not be listed here yet.
            raise BaseGone(f"{error.message}; back up again") from error

    def _before_manifest(self, draft: Draft) -> RepositoryState:
        """The state for the check before the manifest, which may be a short time old, because the
        check after the manifest decides.
        """
        own = self.index_folder.opened([Path(file).stem for file in draft.segments])
        if own and not draft.are_portions and self.seen and self.seen.is_young:
            return self.seen.with_own(own)
        return self.look()

    def _dropped(
        self, draft: Draft, index: Index, own: Set[bytes], going: Set[bytes]
    ) -> list[packs.GroupEntry]:
        """Groups of the `own` packs that the index lost, or will lose with the packs `going`.

        A draft of portions names no index files, so its packs are looked up in the index.
        """
        live = {segment.name for segment in index.segments}
        is_live = live.issuperset(Path(file).stem for file in draft.segments)
        if not going and is_live and own <= index.packs():
            return []
        return [
            entry
            for pack in sorted(own)
            for entry in self._groups_in(pack)
            if pack in going or not index.place(entry.group)
        ]

    def _groups_in(self, pack: bytes) -> list[packs.GroupEntry]:
        """The groups of a pack; empty if a clean-up has deleted the pack."""
        with suppress(NotFound):
            return packs.read_directory(self.destination, pack, self.keys)
        return []

    def _parent(self, manifest: Manifest) -> Manifest | None:
        try:
            return self.manifest(manifest.parent) if manifest.parent else None
        except (NotFound, Damaged):
            return None  # without a parent every chunk is checked
