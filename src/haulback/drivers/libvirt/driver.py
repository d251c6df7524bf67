"""libvirt host as a Hypervisor; images are on file systems of this machine."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from haulback.disk import Disk as Files
from haulback.disk import translate
from haulback.drivers.hypervisor import Booted, Hypervisor, Inventory, Machine, Problem, Snapshot
from haulback.drivers.images import qemu
from haulback.drivers.images.image import Image
from haulback.drivers.images.snapshot import PREFIX, FolderSnapshot, checkpoints, drop
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt import firmware, hooks, making, memory, moving, running, shared, taken
from haulback.drivers.libvirt.agent import Agent
from haulback.drivers.libvirt.boot import IsolatedMachine
from haulback.drivers.libvirt.domain import Volume
from haulback.drivers.libvirt.edge import Domain, Host
from haulback.drivers.libvirt.leftovers import WORKING, Leftovers
from haulback.drivers.libvirt.making import Made
from haulback.drivers.libvirt.placing import Placing
from haulback.drivers.libvirt.thaw import Frozen
from haulback.drivers.libvirt.volumes import located, open_all, opened, readable
from haulback.drivers.source import Source
from haulback.errors import (
    HaulbackError,
    Malformed,
    NotFound,
    SourceChanged,
    Unavailable,
    Unsupported,
)
from haulback.ids import new_guid

log = logging.getLogger(__name__)
_PATIENCE, _AGAIN = 60.0, 0.5  # seconds in which a revert is undone, and between two tries
WORK = Path("/var/tmp")  # folder for sockets and scratch files, which QEMU can write to
_ATTEMPT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNSAFE = re.compile(r"[^\w.()+-]")


class LibvirtHost:
    """Hypervisor over the libvirt at `uri`; new images go to `storage`.

    The images must be on file systems of this machine: a driver runs on the host that it serves.
    """

    def __init__(
        self, uri: str, storage: Path, work: Path | None = None, files: Files | None = None
    ) -> None:
        self.uri, self.storage = uri, storage
        # One folder per host and storage, so that a sweep never removes the work of another one.
        mark = sha256(f"{uri}\0{storage}".encode()).hexdigest()[:12]
        self.work = work or WORK / f"haulback-{mark}"
        self._files = files or Files()

    @cached_property
    def _host(self) -> Host:
        return Host(self.uri)

    @cached_property
    def _left(self) -> Leftovers:
        return Leftovers(self._host, self.storage, self.work, self._files)

    def _images(self, domain: Domain) -> AbstractContextManager[list[Image]]:
        return opened(readable(self._host, domain))

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
        made = xml.machine(domain.definition(), self._sized(domain), live)
        return made._replace(snapshots=taken.held(self._host, domain))

    def _sized(self, domain: Domain) -> list[tuple[Volume, int]]:
        return [(one, domain.size(one.device)) for one in readable(self._host, domain)]

    def snapshot(self, uuid: str, attempt: str, base: str | None = None) -> Snapshot:
        checkpoint = PREFIX + _checked(attempt)
        domain = self._host.domain(uuid)
        if domain.is_active:
            return self._read_running(domain, attempt, checkpoint, base)
        return self._read_stopped(domain, checkpoint, base)

    def _read_running(
        self, domain: Domain, attempt: str, checkpoint: str, base: str | None
    ) -> Snapshot:
        running.end_abandoned(domain)
        sized, live = self._sized(domain), domain.live()
        machine = firmware.kept(xml.machine(domain.definition(), sized, live), xml.parse(live))
        room = self._room(attempt)
        running.make_room(room, next((v.path for v, _ in sized if v.path), None))
        try:
            reads = running.plan(domain, sized, base)
            agent = running.has_agent(domain.live())
            with Frozen(self.uri, domain) if agent else nullcontext() as held:
                reads = running.begin(domain, reads, checkpoint, room)
        except BaseException:
            shutil.rmtree(room, ignore_errors=True)
            raise
        frozen = held is not None and held.held
        return running.RunningSnapshot(domain, machine, reads, checkpoint, room, frozen=frozen)

    def _read_stopped(self, domain: Domain, checkpoint: str, base: str | None) -> Snapshot:
        text = domain.definition()
        volumes = readable(self._host, domain)
        images = open_all(volumes)
        sized = [(v, image.size) for v, image in zip(volumes, images, strict=True)]
        then = running.recorded_sizes(domain, base) if base else {}
        before = {v.name: then[v.device] for v in volumes if v.device in then}
        machine = firmware.kept(xml.machine(text, sized), xml.parse(text))
        made = FolderSnapshot(machine, images, checkpoint, base, before)
        try:
            memory.note(domain, made)
            told = running.checkpoint_xml(checkpoint, sized, text) if made.checkpoint else None
            if told:
                domain.adopt_checkpoint(told)
        except BaseException:
            made.close()
            self._drop(domain, {checkpoint})
            raise
        return made

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
            running.forget(domain, name)

    def take_snapshot(self, uuid: str, name: str) -> str:
        domain = self._host.domain(uuid)
        with nullcontext() if domain.is_active else self._alone():
            return taken.take(self.uri, self._host, domain, name)

    def revert(self, uuid: str, name: str, before: str, attempt: str) -> None:
        domain = self._host.domain(uuid)
        with self._alone():
            try:
                taken.revert(self._host, self._left, domain, name, before, _checked(attempt))
            except BaseException:
                self._undo_revert(attempt)
                raise

    def _undo_revert(self, attempt: str) -> None:
        """Undo a failed revert, retrying for a minute.

        The machine is off meanwhile, and a libvirt that died is often back within seconds.
        """
        note, end = self._left.back_note(attempt), time.monotonic() + _PATIENCE
        while note.exists():
            try:
                Leftovers(Host(self.uri), self.storage, self.work, self._files).undo(note)
            except HaulbackError as error:
                if time.monotonic() > end:
                    log.error("%s is left to the next sweep: %s", note, error.message)
                    return
                time.sleep(_AGAIN)

    def remove_snapshots(self, uuid: str, names: Set[str]) -> list[str]:
        return taken.remove(self._host, self._host.domain(uuid), names)

    def create_over(self, wanted: Machine, share: Path, attempt: str) -> making.NewDomain:
        layers = (disk._replace(format="qcow2", allocate=False) for disk in wanted.disks)
        wanted = wanted._replace(disks=tuple(layers))

        def place(machine: Machine, paths: Mapping[str, Path]) -> Made:
            return self._placed(paths, lambda placing: placing.new(machine, paths, layers=True))

        return self._begin(wanted, attempt, place, share)

    def create(self, wanted: Machine, attempt: str, *, overwrite: bool = False) -> making.NewDomain:
        if overwrite and (old := making.replaced(self._host.domains(), wanted)):
            making.refuse_if_running(
                old
            )  # refuse before the data is copied, not only at the commit

        def place(machine: Machine, paths: Mapping[str, Path]) -> Made:
            def define(placing: Placing) -> Made:
                there = making.replaced(self._host.domains(), machine) if overwrite else None
                if there:
                    return placing.over(there, machine, paths, attempt)
                return placing.new(machine, paths)

            return self._placed(paths, define)

        return self._begin(wanted, attempt, place)

    def _begin(
        self, wanted: Machine, attempt: str, place: making.Place, share: Path | None = None
    ) -> making.NewDomain:
        self.check()
        making.check_wanted(wanted)
        name = f"{_UNSAFE.sub('_', wanted.name)[:100]}-{new_guid()[:8]}"
        room = making.rooms(self._host, self.storage, f"{name}.haulback-{_checked(attempt)}")

        def is_used(room: Path) -> bool:
            return room in {path.parent for path in self._left.used()}

        return making.NewDomain(room, wanted, place, is_used, making.mark_of(self.work), share)

    def _placed(self, paths: Mapping[str, Path], place: Callable[[Placing], Made]) -> Made:
        """Define a machine with its complete images; libvirt does this atomically."""
        with self._alone():
            self._sync(paths)
            return place(Placing(self._host, self._left, self._measure))

    def move(  # parameters of the Protocol
        self,
        uuid: str,
        there: Hypervisor,
        attempt: str,
        expect: Callable[[int], None],
        count: Callable[[int], None],
    ) -> Machine:
        if not isinstance(there, LibvirtHost):
            raise Unsupported("a machine can be moved only to another libvirt host")
        try:
            domain = self._host.domain(uuid)
        except NotFound:
            return there.machine(uuid)  # an earlier attempt has moved the machine
        moving.check(self._host, domain, there._host)
        self._drop(domain, set(domain.checkpoints()))
        room = self._room(_checked(attempt))
        running.make_room(room, None)
        qemu.hand_over(room)

        def place(_: Machine, paths: Mapping[str, Path]) -> Made:
            moving.carry(domain, there._host, paths, room, expect, count)
            return Made(there.machine(uuid), [])

        try:
            with self._alone():
                # The note precedes the migration: if this process dies after it, a sweep deletes
                # the images here. While the machine is still here, its images are in use and
                # stay.
                note = self._left.note_gone(attempt, domain, moves=True)
            with there._begin(self._measure(domain), attempt, place) as new:
                made = new.commit()
            with self._alone():
                self._left.carry_out(note)
        finally:
            shutil.rmtree(room, ignore_errors=True)
        return made

    def boot(self, wanted: Machine, sources: Mapping[str, Source], attempt: str) -> Booted:
        room = self._room(_checked(attempt))
        return IsolatedMachine(self._host, wanted, sources, room)

    def _room(self, attempt: str) -> Path:
        self.work.mkdir(mode=0o711, parents=True, exist_ok=True)
        return self.work / f"haulback-{attempt}"

    def around(
        self, uuid: str, before: str, after: str, warn: Callable[[str], None]
    ) -> AbstractContextManager[None]:
        domain = self._host.domain(uuid)
        if not domain.is_active or not before + after:
            return nullcontext()
        return hooks.around(self.uri, domain, before, after, warn)

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
        return [self._measure(domain) for domain in shared.domains_on(self._host, socket)]

    def go_on(self, socket: Path) -> list[str]:
        waiting = [one for one in shared.domains_on(self._host, socket) if one.waits()]
        for domain in waiting:
            shared.go_on(domain)
        return [domain.name for domain in waiting]

    def make_own(self, uuid: str, count: Callable[[int], None]) -> None:
        domain = self._host.domain(uuid)
        if not domain.is_active:
            raise SourceChanged(
                f"{domain.name} is off; start it, because only a running machine copies disks"
            )
        for volume in shared.lies_on(located(self._host, domain.live())):
            shared.copy_in(domain, volume, count)
        if left := shared.lies_on(located(self._host, domain.live())):
            raise Unavailable(f"{domain.name}: {left[0].name} still depends on its share")

    def remove(self, uuid: str) -> None:
        with self._alone():
            try:
                domain = self._host.domain(uuid)
            except NotFound:
                return
            making.refuse_if_running(domain)
            memory.refuse_if_kept(domain, "removing it")
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
        rooms = {path.parent for path in paths.values()}
        for folder in rooms | {room.parent for room in rooms}:
            self._files.sync_folder(folder)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock on the storage: no other process of ours adds, changes or removes machines.

        QEMU tools that run meanwhile inherit the lock, see `qemu.holding`.
        """
        try:
            handle = os.open(self.storage, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise translate(error, self.storage) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with qemu.holding(handle):
                yield
        finally:
            os.close(handle)


def _checked(attempt: str) -> str:
    if not _ATTEMPT.fullmatch(attempt):
        raise Malformed(f"{attempt[:80]!r} is not a valid name of an attempt")
    return attempt
