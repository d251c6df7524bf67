"""Process of a mount: `python -m haulback.mounts.process FOLDER`, with a MountSpec on standard
input.

The process survives the node and runs until SIGTERM, because a machine may run from the mount. The
process holds a lock on `FOLDER/lock` and serves all disks of the backup read-only by NBD at
`FOLDER/nbd`.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from subprocess import Popen
from threading import Event, Lock

import msgspec

from haulback.destinations.add_only import AddOnly
from haulback.destinations.registry import open_destination
from haulback.drivers.images.qemu import hand_over
from haulback.drivers.nbd_server import NbdServer
from haulback.errors import Conflict, HaulbackError, NotFound
from haulback.mounts import iscsi_target
from haulback.mounts.folders import show
from haulback.mounts.reopening_disk import Readers, ReopeningDisk
from haulback.mounts.spec import MountPlace, MountSpec, MountState
from haulback.repository.manifest import Manifest
from haulback.repository.openers import opener
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk

_LOOK_EVERY = 2.0  # seconds between two checks of the child processes
NBD, LOCK, PID, RAW = "nbd", "lock", "pid", "disks"


def main(run_folder: Path) -> None:
    """Start the mount, write a `MountState` to standard output, and serve until SIGTERM."""
    over = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=MountSpec)
    if os.fork():
        os._exit(0)  # the child serves; the node waits only for the parent
    _serve(order, run_folder, over)


def _serve(order: MountSpec, run_folder: Path, over: Event) -> None:
    """Report the mount, or the reason why it failed, to the node, and serve until `over`."""
    with ExitStack() as held:
        children: list[Popen[bytes]] = []
        try:
            ready = _open(order, run_folder, held, children)
        except Exception as error:  # noqa: BLE001 - the node is told of any error
            _say(MountState(error=_told(error)))
            return
        _say(ready)
        _let_go()
        # The mount ends when one child dies; the node then starts the whole mount again.
        while not over.wait(_LOOK_EVERY) and all(child.poll() is None for child in children):
            pass


def _told(error: Exception) -> str:
    """Reason why the backup cannot be mounted.

    For an unexpected error only its type is given, because its text may hold a secret.
    """
    if isinstance(error, HaulbackError):
        return error.message
    return str(error) if isinstance(error, OSError) else type(error).__name__


def _open(
    order: MountSpec, run_folder: Path, held: ExitStack, children: list[Popen[bytes]]
) -> MountState:
    lock = open(run_folder / LOCK, "wb")  # noqa: SIM115 - closed when the share ends
    held.callback(lock.close)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(f"the mount {order.guid} is served already") from None
    (run_folder / PID).write_text(str(os.getpid()))
    repository, manifest = _located(order)
    readers = Readers(repository)
    spares = [Spare(order.guid, other) for other in order.others]
    disks = {
        disk.name: ReopeningDisk(
            disk.map, readers, [partial(spare.disk, disk.name) for spare in spares]
        )
        for disk in manifest.disks
    }
    (run_folder / NBD).unlink(missing_ok=True)  # left behind by a process that died
    held.enter_context(NbdServer(run_folder / NBD, disks))
    if order.for_machine:
        hand_over(run_folder / NBD)
    children += show(run_folder / NBD, disks, order.visible, held)
    ready = MountState({name: disk.size for name, disk in disks.items()})
    if order.target:
        offered = iscsi_target.serve(
            run_folder, run_folder / RAW, order.target, order.guid, order.key
        )
        ready.portal, child = held.enter_context(offered)
        children.append(child)
    return ready


def _located(order: MountSpec) -> tuple[Repository, Manifest]:
    """The first location that can be opened, and the locations after it.

    Raises the error of the first location when none can be opened.
    """
    first = MountPlace(
        driver=order.driver,
        config=order.config,
        repository=order.repository,
        key=order.key,
        backup=order.backup,
    )
    places, failed = [first, *order.others], None
    for place in places:
        try:
            repository = _repository(order.guid, place)
            manifest = repository.manifest(place.backup)
        except HaulbackError as error:
            failed = failed or error
            continue
        repository.others = [
            partial(_of_family, order.guid, other, repository)
            for other in places
            if other is not place
        ]
        return repository, manifest
    assert failed
    raise failed


class Spare:
    """The disks of another location, which is opened at the first read of a disk."""

    def __init__(self, attempt: str, place: MountPlace) -> None:
        self._attempt, self._place = attempt, place
        self._disks: dict[str, StoredDisk] = {}
        # held while the location is opened, because other threads need the same disks
        self._lock = Lock()

    def disk(self, name: str) -> StoredDisk:
        """A disk of the location.  Raises NotFound, or the error of its opening."""
        with self._lock:
            if not self._disks:
                repository = _repository(self._attempt, self._place)
                manifest, reader = repository.manifest(self._place.backup), repository.reader()
                self._disks = {one.name: StoredDisk(one.map, reader) for one in manifest.disks}
        if name not in self._disks:
            raise NotFound(f"the other location has no disk {name}")
        return self._disks[name]


def _repository(attempt: str, place: MountPlace) -> Repository:
    destination = AddOnly(open_destination(place.driver, place.config, attempt))
    repository = Repository.open(destination, opener(place.key))
    if place.repository not in (None, repository.guid):
        raise Conflict("the destination now holds another repository; mount the original one")
    return repository


def _of_family(attempt: str, place: MountPlace, repository: Repository) -> Repository:
    """The repository of another location.  Raises NotFound if it has another key."""
    other = _repository(attempt, place)
    if not other.is_of_family(repository):
        raise NotFound("the other location has another key")
    return other


def _say(ready: MountState) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
    sys.stdout.buffer.flush()


def _let_go() -> None:
    """Detach from the node's pipes and terminal."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
