"""Repairing a repository: damaged objects are rebuilt or moved aside, and losses are reported.

Nothing is deleted: a damaged object moves below `aside/`, which readers do not open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from haulback.destinations.protocol import ObjectStore
from haulback.errors import Conflict, Damaged, Forbidden, HaulbackError, NotFound, OwnerChanged
from haulback.repository import config, pending_deletes
from haulback.repository.backup_loss import BackupLoss
from haulback.repository.damage_report import doubt
from haulback.repository.group import PAGE_GROUP_BYTES, Group
from haulback.repository.index import Index
from haulback.repository.keys import Secret
from haulback.repository.merge import MergePlan, merge
from haulback.repository.names import exists
from haulback.repository.pack import GroupLocation, check_magic, name_of, read_directory
from haulback.repository.reader import read_group
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.scan import lost_entries, scan, scan_completing_index
from haulback.repository.segment import Segment
from haulback.repository.verify import CheckOrder, Depth, VerifyReport, verify
from haulback.repository.writer import Writer
from haulback.units import counted

log = logging.getLogger(__name__)


@dataclass
class RepairContext:
    """The folder, identity and permissions of a repair.

    `folder` is empty and takes new packs and index files temporarily.  `secrets` are wrapped into a
    new configuration if both copies are missing.  `pins` names all other tasks that use the
    repository now; while there are any, no pack is moved.  `record` returns the name of the
    repairer and the time in epoch ms.  With `believe` a user confirms that this many packs really
    are damaged at once.
    """

    folder: Path
    resources: Resources
    record: Callable[[], tuple[str, int]]
    secrets: tuple[Secret, ...] = ()
    pins: Callable[[], Set[str]] = frozenset
    believe: bool = False


@dataclass
class RepairReport:
    """The actions of a repair, carried out or (`is_applied` false) planned, as sentences that name
    objects.

    `losses` are the permanent losses of backups, `strangers` are foreign files, `after` is the
    verification at the end of a repair that was applied.
    """

    is_applied: bool
    actions: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    losses: list[BackupLoss] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    after: VerifyReport | None = None


def repair(repository: Repository, context: RepairContext, *, apply: bool) -> RepairReport:
    """Verify the whole repository, then repair it; without `apply` only list the actions.

    With `apply` the right to delete is needed.  Safe to repeat after a failure at any point.
    Raises Unavailable when the destination does not answer.
    """
    return _Repair(repository, context, apply).run()


class _Repair:
    """A run of a repair."""

    def __init__(self, repository: Repository, context: RepairContext, apply: bool) -> None:
        self._repository, self._workshop, self._apply = repository, context, apply
        self._destination, self._keys = repository.destination, repository.keys
        self._done = RepairReport(apply)
        self._hidden: set[str] = (
            set()
        )  # locked objects that somebody has hidden and that are still hidden

    def run(self) -> RepairReport:
        self._show_hidden()
        self._config()
        if self._apply:
            self._repository.begin_writing()
        before = self._verify(Depth.DATA)
        self._done.findings, self._done.losses = before.findings, before.losses
        self._done.strangers = before.strangers
        self._small_objects(before)
        self._index()
        self._packs(before)
        if self._apply:
            after = self._done.after = self._verify(Depth.MAPS)
            self._done.losses, self._done.findings = after.losses, after.findings
        return self._done

    def _show_hidden(self) -> None:
        """Remove delete markers and newer versions that hide locked objects."""
        hidden = self._repository.locks.hidden()
        self._hidden.update(hidden)
        for name, why in sorted(hidden.items()):
            self._act(f"{why}; the object is made visible again", partial(self._show, name))

    def _show(self, name: str) -> None:
        """Remove the markers and versions that hide an object, if this server may delete there
        now.
        """
        try:
            self._repository.check_deletion()
            self._repository.locks.unhide(name)
        except OwnerChanged:
            raise
        except (Conflict, Forbidden) as error:
            self._done.actions.append(f"{name} stays hidden: {error.message}")
        else:
            self._hidden.discard(name)
            # The name of a configuration that could not be read.
            self._repository.problems.pop(name, None)

    def _verify(self, depth: Depth) -> VerifyReport:
        context = self._workshop
        record = context.record if self._apply else None
        order = CheckOrder(record=record, believe=context.believe)
        return verify(self._repository, depth, context.resources, order)

    def _act(self, text: str, action: Callable[[], object]) -> None:
        """Record an action, and run it when the repair is applied."""
        self._done.actions.append(text)
        if self._apply:
            self._workshop.resources.confirm()
            action()
            log.info("repair: %s", text)

    def _set_aside(self, name: str, why: str) -> None:
        self._act(f"{name} is set aside: {why}", lambda: self._move(name))

    def _move(self, name: str) -> None:
        try:
            self._repository.check_deletion()
            self._done.aside.append(set_aside(self._destination, name))
        except OwnerChanged:
            raise
        except HaulbackError as error:
            self._done.actions.append(f"{name} stays in place: {error.message}")

    def _config(self) -> None:
        """Complete both copies of the configuration, from one copy or from the recovery kit."""
        repository = self._repository
        problems = repository.problems.items()
        known = {name: why for name, why in problems if name not in self._hidden}
        for name, why in sorted(known.items()):
            if name == config.DIFFERENT:
                self._done.actions.append(f"{why}; the repair cannot correct this damage")
            elif exists(self._destination, name):
                self._set_aside(name, why)
        if not known.keys() & {config.CONFIG, config.CONFIG_COPY}:
            return
        if known.keys() >= {config.CONFIG, config.CONFIG_COPY}:
            self._new_config()
        else:
            self._act(
                f"{config.CONFIG} and its copy: each is completed with the parts of the other",
                lambda: config.complete(self._destination, repository.guid, self._keys),
            )
        if self._apply:
            for name in (config.CONFIG, config.CONFIG_COPY):
                repository.problems.pop(name, None)

    def _new_config(self) -> None:
        if not self._workshop.secrets:
            self._done.actions.append(
                f"{config.CONFIG} cannot be rebuilt: name the key file or the passphrase "
                "that will open the repository from now on"
            )
            return
        data = config.encode(self._repository.guid, self._keys, self._workshop.secrets)
        for name in (config.CONFIG, config.CONFIG_COPY):
            self._act(f"{name} is made again", lambda name=name: self._store(name, data))  # type: ignore[misc]

    def _store(self, name: str, data: bytes) -> None:
        with suppress(Conflict):  # an earlier repair that was interrupted stored the object
            self._destination.store(name, data)

    def _small_objects(self, report: VerifyReport) -> None:
        """Move aside manifests, slots, pending deletes, rolls and records that cannot be read."""
        repository = self._repository
        for backup in report.unreadable:
            if self._is_damaged(backup):
                self._set_aside(f"manifests/{backup}", "the manifest cannot be read")
        rotten: dict[str, str] = {}
        pending_deletes.read(repository.objects, self._keys, rotten)
        for name, why in {
            **rotten,
            **config.revision_problems(self._destination, self._keys),
            **config.slot_problems(self._destination, repository.guid, self._keys),
            **self._replaceable_rolls(),
            **repository.damage_log.problems,
            **repository.extracts.problems(),
        }.items():
            if exists(self._destination, name):
                self._set_aside(name, why)
        if self._apply:
            config.raise_revision(self._destination, self._keys)
            repository.rolls.complete()

    def _is_damaged(self, backup: str) -> bool:
        """Whether a manifest also fails a second read."""
        try:
            self._repository.manifest(backup)
        except Damaged:
            return True
        except NotFound:
            return False
        return False

    def _replaceable_rolls(self) -> dict[str, str]:
        """Damaged rolls and tombstones; the last roll is left out if neither of its copies can be
        read.

        An older roll lacks later backups, so that a clean-up that relied on it could delete them.
        """
        rolls = self._repository.rolls
        problems = rolls.problems()
        try:
            rolls.last()
        except Damaged as error:
            self._done.actions.append(
                f"{error.message}; until then both copies stay, and clean-ups delete nothing"
            )
            return {}
        return problems

    def _index(self) -> None:
        """Replace damaged index files: their entries are read from the packs and stored before the
        old file moves.
        """
        folder = self._repository.index_folder
        folder.segments()
        for name, why in sorted(folder.damaged.items()):
            self._act(
                f"the entries of index/{name} are read again from the packs",
                lambda: folder.mend(self._workshop.folder, self._workshop.resources.disk),
            )
            self._set_aside(f"index/{name}", why)
        self._complete_index()

    def _complete_index(self) -> None:
        """Read pack directories for chunks that backups need and that the index does not list."""
        repository, context = self._repository, self._workshop
        scanned = scan(repository, context.folder, context.resources.disk)
        if count := sum(map(len, lost_entries(scanned, repository))):
            self._act(
                f"{counted(count, 'lost group')} added to the index again",
                lambda: scan_completing_index(repository, context.folder, context.resources),
            )

    def _packs(self, report: VerifyReport) -> None:
        """Move the good groups of damaged packs into new packs, and the damaged packs aside."""
        index, stored = self._repository.index(), self._repository.objects.packs()
        # A pack under lock that is only hidden is as good as before.
        hidden = {pack for pack in index.packs() if name_of(pack) in self._hidden}
        hurt = self._damaged_packs(index, stored) - hidden
        doubted = report.recorded.unreliable if report.recorded else ""
        doubted = doubted or doubt(self._repository, hurt, len(stored))
        if doubted and not self._workshop.believe:
            self._done.actions.append(
                f"{doubted}: a part of the repository may not be mounted.  The repair "
                "changed no pack; mount the missing part, or confirm the damage with "
                "--believe"
            )
            return
        gone = (hurt & index.packs()) - stored.keys()
        taken = sorted(hurt & stored.keys())
        for pack in sorted(gone):
            self._done.actions.append(f"the missing pack {name_of(pack)} is removed from the index")
        for pack in taken:
            self._done.actions.append(f"the good groups of {name_of(pack)} move to a new pack")
        if not taken and not gone:
            return
        if self._apply:
            self._replace_packs(index, set(taken), gone)
        if self._workshop.pins():
            self._done.actions.append(
                "damaged packs stay while a task uses the repository: repair the "
                "repository again after that task"
            )
            return
        for pack in taken:
            self._set_aside(name_of(pack), "a part of the pack cannot be read")

    def _damaged_packs(self, index: Index, stored: Mapping[bytes, int]) -> set[bytes]:
        """Packs with damage, recorded or found in this run; `stored` are lengths in bytes."""
        noted = {spot.pack for spot in self._repository.findings.all()}
        known = {
            spot.pack
            for spot in index.damage.damaged_places
            if spot.group or stored.get(spot.pack, -1) < index.least(spot.pack)
        }
        return (known & (index.packs() | stored.keys())) | noted | self._unsound(stored)

    def _unsound(self, stored: Iterable[bytes]) -> set[bytes]:
        """Packs whose beginning or directory is damaged, even if their groups are sound."""
        result = set()
        for pack in stored:
            try:
                check_magic(self._destination, pack)
                read_directory(self._destination, pack, self._keys)
            except NotFound:
                continue
            except Damaged:
                result.add(pack)
        return result

    def _replace_packs(self, index: Index, taken: set[bytes], gone: set[bytes]) -> None:
        """Store copies of the good groups, then an index without their old packs.

        A group that cannot be read is removed from the index; a group that a clean-up copied is in
        the index twice for a while.
        """
        context = self._workshop
        writer = Writer(self._keys, Index(), context.folder, context.resources)
        try:
            for pack in sorted(taken):
                self._copy(pack, index, writer)
            staged = writer.finish()
        except BaseException:
            writer.abandon()
            raise
        for path in staged.packs:
            context.resources.confirm()
            self._destination.adopt(name_of(bytes.fromhex(path.stem)), path)
        added = [Segment.open(path, path.stem, self._keys) for path in staged.segments]
        for path in staged.segments:
            context.resources.confirm()
            self._repository.index_folder.store(path)
        self._publish(index, added, taken | gone)

    def _copy(self, pack: bytes, index: Index, writer: Writer) -> None:
        placed = {place: group for s in index.segments for group, place in s.groups_in(pack)}
        with suppress(NotFound, Damaged):  # an unreachable destination must end the repair
            for entry in read_directory(self._destination, pack, self._keys):
                placed[entry.place] = entry.group
        for place in sorted(placed):
            found = self._whole(placed[place], place)
            if found:
                group, record = found
                writer.copy(group, record, len(group.data) <= PAGE_GROUP_BYTES)

    def _whole(self, group: bytes, place: GroupLocation) -> tuple[Group, bytes] | None:
        """A group and its stored bytes, when every chunk of it matches its id."""
        try:
            found = read_group(self._destination, group, place, self._keys)
            record = self._destination.load(name_of(place.pack), place.offset, place.length)
        except (NotFound, Damaged):
            return None
        keys = self._keys
        is_whole = all(keys.chunk_id(found.chunk(chunk)) == chunk for chunk in found.places)
        return (found, record) if is_whole else None

    def _publish(self, index: Index, added: list[Segment], without: set[bytes]) -> None:
        """Store an index file that replaces all others; groups of the packs `without` come from
        `added`.
        """
        context, folder = self._workshop, self._repository.index_folder
        segments = [*added, *index.segments]
        names = {segment.name for segment in segments if segment.name}
        names.update(name for segment in segments for name in segment.replaces)
        kept = [np.ones(len(s.columns.sessions), bool) for s in added]
        for segment in index.segments:
            mask = np.ones(len(segment.columns.sessions), bool)
            for pack in without:
                mask[segment.rows_in(pack)] = False
            kept.append(mask)
        stored = sorted(names & folder.names())
        plan = MergePlan(segments, stored, kept, index.damage)
        path = merge(plan, context.folder, self._keys, context.resources.disk)
        context.resources.confirm()
        folder.store(path)


def set_aside(destination: ObjectStore, name: str) -> str:
    """Move an object below `aside/` and return its new name.  Raises the error that prevents
    reading it.

    If another damaged object has the name, the new name gets a number.
    """
    data = destination.load(name)
    for number in range(1, 1000):
        wanted = f"aside/{name}" if number == 1 else f"aside/{name}.{number}"
        try:
            destination.store(wanted, data)
        except Conflict:
            if destination.load(wanted) != data:
                continue
        destination.delete(name)
        return wanted
    raise Conflict(
        f"aside/{name} and its numbered names are taken; delete old objects below aside/"
    )
