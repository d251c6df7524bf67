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
from pathlib import Path
from subprocess import Popen
from threading import Event

import msgspec

from haulback.drivers.images.qemu import hand_over
from haulback.drivers.nbd_server import NbdServer
from haulback.errors import Conflict, HaulbackError
from haulback.mounts import iscsi_target
from haulback.mounts.damage_watch import DAMAGE, DamageWatch
from haulback.mounts.folders import show
from haulback.mounts.locations import Locations
from haulback.mounts.spec import MountSpec, MountState

_LOOK_EVERY = 2.0  # seconds between two checks of the child processes
NBD, LOCK, PID, RAW = "nbd", "lock", "pid", "disks"


def main(run_folder: Path) -> None:
    """Start the mount, write a `MountState` to standard output, and serve until SIGTERM."""
    over = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=MountSpec)
    if os.fork():
        # The child process serves the disks; the node waits only for the parent process.
        os._exit(0)
    _serve(order, run_folder, over)


def _serve(order: MountSpec, run_folder: Path, over: Event) -> None:
    """Report the mount, or the reason why it failed, to the node, and serve until `over`."""
    with ExitStack() as held:
        children: list[Popen[bytes]] = []
        watch = DamageWatch(order.guid, run_folder / DAMAGE)
        try:
            ready = _open(order, run_folder, held, children, watch)
        except Exception as error:  # noqa: BLE001 - the node is told of any error
            _say(MountState(error=_failure_text(error)))
            return
        _say(ready)
        _let_go()
        thread = watch.start()
        # The mount ends when one child dies; the node then starts the whole mount again.
        while not over.wait(_LOOK_EVERY) and all(child.poll() is None for child in children):
            continue
        thread.stop()


def _failure_text(error: Exception) -> str:
    """Reason why the backup cannot be mounted.

    For an unexpected error only its type is given, because its text may hold a secret.
    """
    if isinstance(error, HaulbackError):
        return error.message
    return str(error) if isinstance(error, OSError) else type(error).__name__


def _open(
    order: MountSpec,
    run_folder: Path,
    held: ExitStack,
    children: list[Popen[bytes]],
    watch: DamageWatch,
) -> MountState:
    lock = open(run_folder / LOCK, "wb")  # noqa: SIM115 - closed when the share ends
    held.callback(lock.close)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(f"the mount {order.guid} is served already") from None
    (run_folder / PID).write_text(str(os.getpid()))
    disks = Locations(order, watch).disks()
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
