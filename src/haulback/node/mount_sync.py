"""Mount supervisor: keeps the node's mounts equal to the server's list, also after a restart."""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Thread

from haulback.contract.mount import MountOrder
from haulback.drivers.capabilities import InstantRestore
from haulback.drivers.hypervisor import MachineSource
from haulback.errors import HaulbackError, NotFound
from haulback.logs import members
from haulback.node.server_client import ServerClient
from haulback.node.state_dir import StateDir
from haulback.node.task_machines import open_hypervisor
from haulback.node.task_mounts import access_to, on_server_clock, share_order
from haulback.work.mount import sharing_of

log = logging.getLogger(__name__)
_EVERY = 15.0  # seconds


class MountSync(Thread):
    """Thread that ends unwanted mounts and restarts dead ones until `stop`."""

    def __init__(self, link: ServerClient, home: StateDir) -> None:
        super().__init__(name="shares", daemon=True)
        self._link, self._home, self._over = link, home, Event()
        self._well = set[str]()  # mounts that this process has checked or restarted

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self.look()
            except HaulbackError as error:
                log.debug("mounts cannot be compared with the server: %s", error.message)
            except Exception:
                if self._over.is_set():
                    return  # the connection was closed during the call
                log.exception("mounts cannot be compared with the server")
            self._over.wait(_EVERY)

    def stop(self) -> None:
        self._over.set()

    def look(self) -> None:
        """Compare the mounts once with the server's list.

        Local mounts are listed before the server is asked, so that a mount that was started
        meanwhile is not ended.
        """
        shares = self._home.shares
        if held := {guid: shares.beginning(guid) for guid in shares.all()}:
            for guid in held.keys() - set(self._link.needed(list(held))):
                if shares.end_unchanged(guid, held[guid]):
                    log.info("mount is no longer needed", extra=members(mount=guid))
        wanted = self._link.shares()
        for guid in shares.ended_with_damage():
            self._tell_damage(guid)
        self._well.intersection_update(wanted)
        for guid in wanted:
            if self._over.is_set():
                return
            self._tell_damage(guid)
            if not shares.lives(guid) or guid not in self._well:
                self._see_to(guid)

    def _tell_damage(self, guid: str) -> None:
        """Report the damage that a mount has found since the last report, location by location."""
        shares = self._home.shares
        for met in shares.damage(guid):
            try:
                with suppress(NotFound):  # the server has no record of the mount any more
                    self._link.met_damage(guid, on_server_clock([met], self._link.now_ms()))
                shares.acknowledge(guid, [met])
            except (HaulbackError, OSError) as error:
                log.warning("the damage that mount %s found is not reported: %s", guid, error)
                return

    def _see_to(self, guid: str) -> None:
        """Restart a mount if it is dead, and resume the machines that run from the mount."""
        self._well.discard(guid)
        try:
            order: MountOrder = self._link.share(guid, MountOrder)
            if not self._home.shares.is_served(guid):
                self._begin(order)
            if order.hypervisor:
                with closing(open_hypervisor(order.hypervisor)) as machines:
                    _resume(machines, self._home.shares.socket(guid))
            self._well.add(guid)
        except NotFound:
            pass  # unmounted since it was listed
        except HaulbackError as error:
            log.warning("mount %s cannot be restarted: %s", guid, error.message)

    def _begin(self, order: MountOrder) -> None:
        guid = order.mount
        wanted = share_order(sharing_of(order), lambda record: access_to(record, self._link))
        self._home.shares.begin(wanted)
        log.info("mount restarted", extra=members(mount=guid))
        if guid not in self._link.needed([guid]):
            self._home.shares.end(guid)  # the backup was unmounted meanwhile
            raise NotFound(guid)


def _resume(machines: MachineSource, socket: Path) -> None:
    """Resume the machines that run from the mount at `socket`; other hypervisors have no such
    machines.
    """
    if isinstance(machines, InstantRestore):
        for name in machines.go_on(socket):
            log.info("machine resumed", extra=members(machine=name))
