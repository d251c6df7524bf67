"""Driver of a libvirt host; images are on file systems of this machine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from haulback.drivers.free_space import FreeSpace, free_spaces
from haulback.drivers.hypervisor import (
    BootedMachine,
    Inventory,
    Machine,
    MachineSource,
    Problem,
    Snapshot,
    UnprotectedPart,
)
from haulback.drivers.images import qemu
from haulback.drivers.images.image import Image
from haulback.drivers.images.image_reader import PREFIX, FolderSnapshot, checkpoints, drop
from haulback.drivers.images.notes import is_carried_out
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt import (
    firmware,
    hooks,
    internal_snapshots,
    live_backup,
    machine_builder,
    managed_save,
    migration,
    overlay,
)
from haulback.drivers.libvirt.agent import Agent
from haulback.drivers.libvirt.boot import IsolatedMachine
from haulback.drivers.libvirt.cleanup import WORKING, Leftovers
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.drivers.libvirt.define import MachineDefiner
from haulback.drivers.libvirt.definition import AUTOSTART
from haulback.drivers.libvirt.freeze_guard import GuestFreeze
from haulback.drivers.libvirt.machine_builder import DefinedMachine
from haulback.drivers.libvirt.plugged_devices import with_plugged
from haulback.drivers.libvirt.start_watch import StartWatch
from haulback.drivers.libvirt.volumes import (
    located,
    looked_at,
    open_all,
    opened,
    readable,
    sized,
)
from haulback.drivers.source import Source
from haulback.durable_files import DurableFiles as Files
from haulback.errors import (
    HaulbackError,
    Malformed,
    NotFound,
    SourceChanged,
    Unavailable,
    Unsupported,
)
from haulback.hypervisor_types import LIBVIRT
from haulback.ids import new_guid
from haulback.libvirt_xml import XML, parse
from haulback.retry import Backoff, retry

_PATIENCE = Backoff(0.5, seconds=60.0)  # attempts to undo a revert
WORK = Path("/var/tmp")  # folder for sockets and scratch files, which QEMU can write to
_ATTEMPT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNGUARDED = (
    "no lock prevents other hosts from writing to the disk during the read; Haulback "
    "detects only a start of the machine on its own host, not such a write"
)
_UNSAFE = re.compile(r"[^\w.()+-]")


class LibvirtHost:
    """Driver over the libvirt at `uri`; new images go to `storage`.

    The images must be on file systems of this machine: a driver runs on the host that it serves.
    """

    declaration = LIBVIRT

    def __init__(
        self, uri: str, storage: Path, work: Path | None = None, files: Files | None = None
    ) -> None:
        self.uri, self.storage = uri, storage
        # Each host and storage has a folder, so that a sweep never removes the files of another
        # host or storage.
        mark = sha256(f"{uri}\0{storage}".encode()).hexdigest()[:12]
        self.work = work or WORK / f"haulback-{mark}"
        self._files = files or Files()
        self._silent: dict[str, str] = {}  # servers of disks that did not answer, with the reasons

    @cached_property
    def _host(self) -> Host:
        return Host(self.uri)

    @cached_property
    def _left(self) -> Leftovers:
        return Leftovers(self._host, self.storage, self.work, self._files)

    def _images(self, domain: Domain) -> AbstractContextManager[list[Image]]:
        return opened([one for one in readable(self._host, domain) if one.path])

    def check(self) -> None:
        self._host.domains()
        if not self.storage.is_dir():
            raise Unavailable(f"the storage {self.storage} is missing; create or mount it")

    def inventory(self) -> Inventory:
        machines, problems = [], []
        for domain in self._host.domains():
            if WORKING.fullmatch(domain.name):
                continue  # a copy that is booted for a proof
            try:
                machines.append(self._measure(domain))
            except HaulbackError as error:
                problems.append(Problem(domain.uuid, error.message))
        machines.sort(key=lambda machine: (machine.name, machine.uuid))
        return Inventory(machines, sorted(problems), self._host.networks(), self._host.spaces())

    def machine(self, uuid: str) -> Machine:
        return self._measure(self._host.domain(uuid))

    def _measure(self, domain: Domain) -> Machine:
        """Describe a machine by its definition for the next start and its current disks."""
        live = domain.live() if domain.is_active else ""
        seen = looked_at(self._host, domain, self._silent)
        made = xml.machine(domain.locked(), seen.sized, live, seen.lost)
        made = _started(domain, made)
        return made._replace(snapshots=internal_snapshots.held(self._host, domain))

    def snapshot(self, uuid: str, attempt: str, base: str | None = None) -> Snapshot:
        checkpoint = PREFIX + _checked(attempt)
        domain = self._host.domain(uuid)
        if domain.is_active:
            return self._read_running(domain, attempt, checkpoint, base)
        return self._read_stopped(domain, checkpoint, base)

    def _read_running(
        self, domain: Domain, attempt: str, checkpoint: str, base: str | None
    ) -> Snapshot:
        live_backup.end_abandoned(domain)
        disks, live = sized(self._host, domain), domain.live()
        text = domain.locked()
        machine = _started(domain, firmware.kept(xml.machine(text, disks, live), parse(live)))
        whole = {**machine.definition, XML: with_plugged(text, live)}
        machine = machine._replace(definition=whole)
        folder = self._job_folder(attempt)
        live_backup.make_folder(folder, next((v.path for v, _ in disks if v.path), None))
        try:
            reads = live_backup.plan(domain, disks, base)
            agent = live_backup.has_agent(domain.live())
            with GuestFreeze(self.uri, domain) if agent else nullcontext() as held:
                reads = live_backup.begin(domain, reads, checkpoint, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        frozen = held is not None and held.held
        job = live_backup.BackupJob(reads, checkpoint, folder, frozen)
        return live_backup.RunningSnapshot(domain, machine, job)

    def _read_stopped(self, domain: Domain, checkpoint: str, base: str | None) -> Snapshot:
        off, text = domain.why_off(), domain.locked()
        volumes = readable(self._host, domain)
        images = open_all(volumes, network=True)
        disks = [(v, image.size) for v, image in zip(volumes, images, strict=True)]
        then = live_backup.recorded_sizes(domain, base) if base else {}
        before = {v.name: then[v.device] for v in volumes if v.device in then}
        machine = _started(domain, firmware.kept(xml.machine(text, disks), parse(text)))
        made = FolderSnapshot(machine, images, checkpoint, base, before)
        try:
            self._watch(domain, made, images, off)
            managed_save.note(domain, made)
            local = [(v if v.path else v._replace(format="raw"), size) for v, size in disks]
            told = live_backup.checkpoint_xml(checkpoint, local, text) if made.checkpoint else None
            if told:
                domain.adopt_checkpoint(told)
        except BaseException:
            made.close()
            self._drop(domain, {checkpoint})
            raise
        return made

    def _watch(
        self, domain: Domain, made: FolderSnapshot, images: list[Image], off: int | None
    ) -> None:
        """Detect a start of the machine while its disks are read without a lock."""
        open_to_all = [image.disk.name for image in images if not image.is_guarded]
        if not open_to_all:
            return
        made.at_close(StartWatch(self.uri, domain, off).close)
        told = tuple(UnprotectedPart(name, _UNGUARDED, held=True) for name in open_to_all)
        made.machine = made.machine._replace(apart=(*made.machine.apart, *told))

    def drop_checkpoints(self, uuid: str, keep: Set[str]) -> list[str]:
        domain = self._host.domain(uuid)
        known = {name for name in domain.checkpoints() if name.startswith(PREFIX)}
        if not domain.is_active:
            with self._images(domain) as images:
                known |= checkpoints(images, sized=False)
        unwanted = known - keep
        self._drop(domain, unwanted)
        return sorted(unwanted)

    def _drop(self, domain: Domain, unwanted: Set[str]) -> None:
        if not domain.is_active:
            with self._images(domain) as images:
                drop(images, unwanted, sized=False)
        for name in unwanted & set(domain.checkpoints()):
            live_backup.forget(domain, name)

    def take_snapshot(self, uuid: str, name: str) -> str:
        domain = self._host.domain(uuid)
        with nullcontext() if domain.is_active else self._alone():
            return internal_snapshots.take(self.uri, self._host, domain, name)

    def revert(self, uuid: str, name: str, before: str, attempt: str) -> None:
        domain = self._host.domain(uuid)
        with self._alone():
            try:
                wanted = internal_snapshots.Reversion(name, before, _checked(attempt))
                internal_snapshots.revert(self._host, self._left, domain, wanted)
            except BaseException:
                self._undo_revert(attempt)
                raise

    def _undo_revert(self, attempt: str) -> None:
        """Undo a failed revert, retrying for a minute.

        The machine is off meanwhile, and a crashed libvirt usually restarts within seconds.
        """
        note = self._left.back_note(attempt)

        def undo() -> None:
            if note.exists():
                Leftovers(Host(self.uri), self.storage, self.work, self._files).undo(note)

        def patiently(_: Path) -> None:
            retry(undo, _PATIENCE, lambda error: isinstance(error, HaulbackError))

        is_carried_out(patiently, note)

    def remove_snapshots(self, uuid: str, names: Set[str]) -> list[str]:
        return internal_snapshots.remove(self._host, self._host.domain(uuid), names)

    def create_over(self, wanted: Machine, share: Path, attempt: str) -> machine_builder.NewDomain:
        layers = (disk._replace(format="qcow2", allocate=False) for disk in wanted.disks)
        wanted = wanted._replace(disks=tuple(layers))

        def place(machine: Machine, paths: Mapping[str, Path]) -> DefinedMachine:
            return self._placed(
                paths, lambda placing: placing.new(machine, paths, attempt, layers=True)
            )

        return self._begin(wanted, attempt, place, share)

    def create(
        self, wanted: Machine, attempt: str, *, overwrite: bool = False
    ) -> machine_builder.NewDomain:
        if overwrite and (old := machine_builder.replaced(self._host.domains(), wanted)):
            machine_builder.refuse_if_running(
                old
            )  # refused before the data is copied, not only at the commit

        def place(machine: Machine, paths: Mapping[str, Path]) -> DefinedMachine:
            def define(placing: MachineDefiner) -> DefinedMachine:
                there = (
                    machine_builder.replaced(self._host.domains(), machine) if overwrite else None
                )
                if there:
                    return placing.over(there, machine, paths, attempt)
                return placing.new(machine, paths, attempt)

            return self._placed(paths, define)

        return self._begin(wanted, attempt, place)

    def _begin(
        self, wanted: Machine, attempt: str, place: machine_builder.Place, share: Path | None = None
    ) -> machine_builder.NewDomain:
        self.check()
        machine_builder.check_wanted(wanted)
        name = f"{_UNSAFE.sub('_', wanted.name)[:100]}-{new_guid()[:8]}"
        folder_of = machine_builder.folder_chooser(
            self._host, self.storage, f"{name}.haulback-{_checked(attempt)}"
        )

        def is_used(folder: Path) -> bool:
            return folder in {path.parent for path in self._left.used()}

        folders = machine_builder.ImageFolders(
            folder_of, is_used, machine_builder.mark_of(self.work)
        )
        return machine_builder.NewDomain(wanted, place, folders, share)

    def _placed(
        self, paths: Mapping[str, Path], place: Callable[[MachineDefiner], DefinedMachine]
    ) -> DefinedMachine:
        """Define a machine with its complete images; libvirt does this atomically."""
        with self._alone():
            self._sync(paths)
            return place(MachineDefiner(self._host, self._left, self._measure))

    def move(  # parameters that the Protocol requires
        self,
        uuid: str,
        there: MachineSource,
        attempt: str,
        expect: Callable[[int], None],
        count: Callable[[int], None],
    ) -> Machine:
        if not isinstance(there, LibvirtHost):
            raise Unsupported("a machine can be moved only to another libvirt host")
        try:
            domain = self._host.domain(uuid)
        except NotFound:
            return there.machine(uuid)  # an earlier attempt has already moved the machine
        migration.check(self._host, domain, there._host)
        self._drop(domain, set(domain.checkpoints()))
        folder = self._job_folder(_checked(attempt))
        live_backup.make_folder(folder, None)
        qemu.hand_over(folder)

        def place(_: Machine, paths: Mapping[str, Path]) -> DefinedMachine:
            migration.carry(
                domain, there._host, paths, folder, migration.MigrationProgress(expect, count)
            )
            return DefinedMachine(there.machine(uuid), [])

        try:
            with self._alone():
                # The note precedes the migration: if this process dies after it, a sweep deletes
                # the images on this host. While the machine is still on this host, its images are
                # in use and stay.
                note = self._left.note_gone(attempt, domain, moves=True)
            with there._begin(self._measure(domain), attempt, place) as new:
                made = new.commit()
            with self._alone():
                self._left.carry_out(note)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return made

    def boot(self, wanted: Machine, sources: Mapping[str, Source], attempt: str) -> BootedMachine:
        folder = self._job_folder(_checked(attempt))
        return IsolatedMachine(self._host, wanted, sources, folder)

    def _job_folder(self, attempt: str) -> Path:
        self.work.mkdir(mode=0o711, parents=True, exist_ok=True)
        return self.work / f"haulback-{attempt}"

    def around(
        self, uuid: str, before: str, after: str, warn: Callable[[str], None]
    ) -> AbstractContextManager[None]:
        domain = self._host.domain(uuid)
        if not domain.is_active or not before + after:
            return nullcontext()
        return hooks.around(self.uri, domain, hooks.Commands(before, after), warn)

    def unpack(self, uuid: str, parts: Iterable[bytes], folder: str, name: str) -> None:
        domain = self._host.domain(uuid)
        if not domain.is_active:
            raise SourceChanged(
                f"{domain.name} is off; start it, because its agent receives the files"
            )
        Agent(domain).unpack(parts, folder, name)

    def start(self, uuid: str) -> None:
        domain = self._host.domain(uuid)
        if not domain.is_active:
            domain.start()

    def on_share(self, socket: Path) -> list[Machine]:
        return [self._measure(domain) for domain in overlay.domains_on(self._host, socket)]

    def go_on(self, socket: Path) -> list[str]:
        waiting = [one for one in overlay.domains_on(self._host, socket) if one.waits()]
        for domain in waiting:
            overlay.go_on(domain)
        return [domain.name for domain in waiting]

    def make_own(self, uuid: str, count: Callable[[int], None]) -> None:
        domain = self._host.domain(uuid)
        if not domain.is_active:
            raise SourceChanged(
                f"{domain.name} is off; start it, because only a running machine copies disks"
            )
        for volume in overlay.lies_on(located(self._host, domain.live())):
            overlay.copy_in(domain, volume, count)
        if left := overlay.lies_on(located(self._host, domain.live())):
            raise Unavailable(
                f"{domain.name}: disk {left[0].name} still depends on the mounted backup; "
                "wait until the migration has copied the disk"
            )

    def space(self, wanted: Machine) -> list[FreeSpace]:
        return free_spaces(
            (disk.name, machine_builder.folder_for(self._host, self.storage, disk))
            for disk in wanted.disks
        )

    def remove(self, uuid: str) -> None:
        with self._alone():
            try:
                domain = self._host.domain(uuid)
            except NotFound:
                return
            machine_builder.refuse_if_running(domain)
            managed_save.refuse_if_kept(domain, "removing it")
            note = self._left.note_gone(new_guid(), domain)
            domain.undefine()
            self._left.carry_out(note)

    def sweep(self, alive: Set[str]) -> list[str]:
        self.check()
        with self._alone():
            return self._left.sweep(alive)

    def close(self) -> None:
        self.__dict__.pop("_host", None)

    def _sync(self, paths: Mapping[str, Path]) -> None:
        image_folders = {path.parent for path in paths.values()}
        for folder in image_folders | {path.parent for path in image_folders}:
            self._files.sync_folder(folder)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock on the storage, so that no other process of Haulback adds, changes or
        removes machines.

        QEMU tools that run meanwhile inherit the lock; see `qemu.holding`.
        """
        with qemu.locked_folder(self.storage):
            yield


def _started(domain: Domain, machine: Machine) -> Machine:
    """The description of a machine, with a note if the machine starts with its host."""
    if not domain.autostart:
        return machine
    return machine._replace(definition={**machine.definition, AUTOSTART: True})


def _checked(attempt: str) -> str:
    if not _ATTEMPT.fullmatch(attempt):
        raise Malformed(f"{attempt[:80]!r} is not a valid name of an attempt")
    return attempt
