"""The process of a share: `python -m haulback.shares.process ROOM`, an order on standard input.

It lives on when whoever started it dies, until SIGTERM; a machine may be running from it.  It holds
`ROOM/lock` as long as it lives, and serves every disk of the backup at `ROOM/nbd`, read-only.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from threading import Event

import msgspec

from haulback.destinations.add_only import AddOnly
from haulback.destinations.known import open_destination
from haulback.drivers.images.qemu import hand_over
from haulback.drivers.nbd_server import NbdServer
from haulback.errors import Conflict, HaulbackError
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.shares import target
from haulback.shares.lasting import LastingDisk, Readers
from haulback.shares.order import Shared, ShareOrder
from haulback.shares.visible import show

_LOOK_EVERY = 2.0  # seconds
NBD, LOCK, PID, RAW = "nbd", "lock", "pid", "disks"


def main(room: Path) -> None:
    """Serve until told to stop; says on standard output that it does, or why it cannot."""
    over = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=ShareOrder)
    if os.fork():
        os._exit(0)  # nobody has to wait for the one that serves
    with ExitStack() as held:
        children: list[Popen[bytes]] = []
        try:
            ready = _open(order, room, held, children)
        except Exception as error:  # noqa: BLE001 - whoever waits has to hear of it
            _say(Shared(error=_told(error)))
            return
        _say(ready)
        _let_go()
        # When a part of it dies all of it ends, and the node begins it again.
        while not over.wait(_LOOK_EVERY) and all(child.poll() is None for child in children):
            pass


def _told(error: Exception) -> str:
    """Why it cannot be shared; the words of errors that nobody foresaw may hold a secret."""
    if isinstance(error, HaulbackError):
        return error.message
    return str(error) if isinstance(error, OSError) else type(error).__name__


def _open(order: ShareOrder, room: Path, held: ExitStack, children: list[Popen[bytes]]) -> Shared:
    lock = open(room / LOCK, "wb")  # noqa: SIM115 - held until the end
    held.callback(lock.close)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(f"the share {order.guid} is served already") from None
    (room / PID).write_text(str(os.getpid()))
    destination = AddOnly(open_destination(order.driver, order.config, order.guid))
    repository = Repository.open(destination, Secret("keyfile", order.key))
    if order.repository not in (None, repository.guid):
        raise Conflict("the destination holds another repository than it used to")
    manifest = repository.manifest(order.backup)
    readers = Readers(repository)
    disks = {disk.name: LastingDisk(disk.map, readers) for disk in manifest.disks}
    (room / NBD).unlink(missing_ok=True)  # of one that died
    held.enter_context(NbdServer(room / NBD, disks))
    if order.for_machine:
        hand_over(room / NBD)
    children += show(room / NBD, disks, order.visible, held)
    ready = Shared({name: disk.size for name, disk in disks.items()})
    if order.target:
        offered = target.serve(room, room / RAW, order.target, order.guid, order.key)
        ready.portal, child = held.enter_context(offered)
        children.append(child)
    return ready


def _say(ready: Shared) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
    sys.stdout.buffer.flush()


def _let_go() -> None:
    """Nobody's pipe keeps this process, and nobody's terminal."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
