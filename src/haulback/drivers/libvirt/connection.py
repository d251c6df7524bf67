"""Wrapper of libvirt's Python binding: XML and plain values in and out.

No other module uses libvirt's types.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from haulback.drivers.hypervisor import HypervisorResource
from haulback.drivers.libvirt import screens
from haulback.errors import (
    Conflict,
    HaulbackError,
    Malformed,
    NotFound,
    SourceChanged,
    Unavailable,
    Unsupported,
)
from haulback.system_errors import user

try:
    import libvirt
    import libvirt_qemu
except ImportError:
    libvirt = None

_AGENT_SECONDS = 10  # timeout of a guest agent command
_JOB_SECONDS = 30  # timeout for a backup job to end
_RIGHT = (
    "give the node this right in libvirt's access control (polkit: org.libvirt.api.domain.*; "
    "the move to another host and restores over a machine with passwords need read-secure)"
)
_REMEDY = (
    f"install libvirt's binding (`{sys.prefix}/bin/pip install libvirt-python`; it needs the "
    "packages libvirt-dev, pkg-config, gcc and python3-dev)"
)


class BrokenCheckpoint(Unavailable):
    """A checkpoint's record of changes is missing or inconsistent."""


class Domain:
    """A machine (domain) of libvirt."""

    def __init__(self, domain: Any) -> None:
        self._domain = domain
        self.uuid: str = domain.UUIDString()

    @property
    def name(self) -> str:
        with _mapped():
            return str(self._domain.name())

    @property
    def is_active(self) -> bool:
        """Whether the machine runs or is paused."""
        with _mapped():
            return bool(self._domain.isActive())

    def why_off(self) -> int | None:
        """libvirt's reason why the machine is off, 0 for an unknown reason; None while the machine
        runs.
        """
        with _mapped():
            return None if self._domain.isActive() else int(self._domain.state()[1])

    def definition(self) -> str:
        """Inactive XML: the machine at its next start, without secrets such as passwords."""
        with _mapped():
            return str(self._domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

    def with_passwords(self) -> str:
        """Inactive XML with all secrets, to define the machine again.

        Raises Unavailable when the host refuses to show secrets.
        """
        with _mapped():
            flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
            return str(self._domain.XMLDesc(flags))

    def locked(self) -> str:
        """Inactive XML without secrets, in which a screen with a password has an empty password.

        A host that refuses to show secrets does not tell which screens have a password: then each
        screen counts as a screen with a password.
        """
        text = self.definition()
        if not screens.has_any(text):
            return text
        try:
            secret: str | None = self.with_passwords()
        except HaulbackError:
            secret = None
        return screens.locked(text, secret)

    def live(self) -> str:
        """Current XML of the machine."""
        with _mapped():
            return str(self._domain.XMLDesc(0))

    @property
    def autostart(self) -> bool:
        """Whether the machine starts with its host."""
        with _mapped():
            return bool(self._domain.autostart())

    def set_autostart(self) -> None:
        """Let the machine start with its host from now on."""
        with _mapped():
            self._domain.setAutostart(1)

    def size(self, device: str) -> int:
        """Size of a disk in bytes as the guest sees it."""
        with _mapped():
            return int(self._domain.blockInfo(device)[0])

    def start(self, *, paused: bool = False) -> None:
        """Start the machine; with `paused` it waits until it is resumed."""
        with _mapped():
            self._domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)

    def in_managed_save(self) -> bool:
        """Whether the machine is off while libvirt keeps its memory for the next start."""
        with _mapped():
            return bool(self._domain.hasManagedSaveImage())

    def was_saved(self) -> bool:
        """Whether the machine was stopped by saving its memory, even if the saved memory was
        removed since.
        """
        return self.in_managed_save() or self._is("SHUTOFF", "SAVED")

    def drop_memory(self) -> None:
        """Remove the saved memory of a machine in managed save; otherwise do nothing."""
        if self.in_managed_save():
            with _mapped():
                self._domain.managedSaveRemove()

    def is_held(self) -> bool:
        """Whether a user paused the machine; a pause because of a disk error does not count."""
        return self._is("PAUSED", "USER", "UNKNOWN", "FROM_SNAPSHOT")

    def is_being_saved(self) -> bool:
        """Whether the machine's memory is being saved, dumped or migrated."""
        return self._is("PAUSED", "SAVE", "DUMP", "SNAPSHOT", "MIGRATION")

    def waits(self) -> bool:
        """Whether the machine is paused because of a disk error."""
        return self._is("PAUSED", "IOERROR")

    def _is(self, state: str, *reasons: str) -> bool:
        """Whether the machine is in `state` for one of the `reasons` (names of libvirt's
        constants).
        """
        with _mapped():
            now = tuple(self._domain.state()[:2])
        name = f"VIR_DOMAIN_{state}"
        wanted = (getattr(libvirt, f"{name}_{reason}") for reason in reasons)
        return now in [(getattr(libvirt, name), reason) for reason in wanted]

    def resume(self) -> None:
        """Resume a paused machine."""
        with _mapped():
            self._domain.resume()

    def stop(self) -> None:
        """Switch the machine off at once; no error if it is off or no longer exists."""
        with suppress(NotFound, SourceChanged), _mapped():
            self._domain.destroy()

    def ask_agent(self, command: str, seconds: int = _AGENT_SECONDS) -> str:
        """Send a JSON command to the guest agent and return its JSON response.

        Raises Unavailable without a responding agent.
        """
        with _mapped():
            return str(libvirt_qemu.qemuAgentCommand(self._domain, command, seconds, 0))

    def ask_qemu(self, command: str) -> str:
        """Send a JSON command to the machine's QEMU (QMP) and return its JSON response."""
        with _mapped():
            return str(libvirt_qemu.qemuMonitorCommand(self._domain, command, 0))

    def screenshot(self) -> tuple[bytes, str] | None:
        """Screenshot and its media type; None for a machine without a screen."""
        picture = bytearray()
        try:
            with _mapped():
                stream = self._domain.connect().newStream()
                kind = self._domain.screenshot(stream, 0)
                stream.recvAll(lambda _, data, into: into.extend(data), picture)
                stream.finish()
        except (Unavailable, Unsupported, SourceChanged, NotFound):
            return None
        return bytes(picture), str(kind)

    def rename(self, name: str) -> None:
        """Rename a stopped machine without snapshots and checkpoints."""
        with _mapped():
            self._domain.rename(name)

    def undefine(self) -> None:
        """Remove the machine and all state that libvirt keeps of it; its disks stay."""
        flags = (
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        )
        with _mapped():
            self._domain.undefineFlags(flags)

    def checkpoints(self) -> list[str]:
        """Names of the checkpoints that libvirt knows."""
        with _mapped():
            return sorted(str(one.getName()) for one in self._domain.listAllCheckpoints())

    def checkpoint(self, name: str) -> str:
        """XML of a checkpoint. Raises BrokenCheckpoint for an unknown one."""
        flags = libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN
        with _mapped():
            return str(self._domain.checkpointLookupByName(name).getXMLDesc(flags))

    def adopt_checkpoint(self, xml: str) -> None:
        """Register a checkpoint whose bitmaps already exist."""
        with _mapped():
            self._domain.checkpointCreateXML(xml, libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE)

    def delete_checkpoint(self, name: str, *, only_forget: bool) -> None:
        """Delete a checkpoint with its bitmaps; with `only_forget` only its registration."""
        flags = libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY if only_forget else 0
        with _mapped():
            self._domain.checkpointLookupByName(name).delete(flags)

    def begin_backup(self, backup: str, checkpoint: str | None) -> None:
        """Start a backup job that exports all disks at one moment.

        Raises BrokenCheckpoint when the base's record of changes cannot be used.
        """
        with _mapped():
            self._domain.backupBegin(backup, checkpoint)

    def has_job(self, device: str) -> bool:
        """Whether a block job (commit, copy, pull) of the owner runs on a disk."""
        with _mapped():
            return bool(self._domain.blockJobInfo(device))

    def backup(self) -> str | None:
        """XML of the running backup job; None without one."""
        try:
            with _mapped():
                return str(self._domain.backupGetXMLDesc())
        except (NotFound, SourceChanged):
            return None

    def is_stuck(self) -> bool:
        """Whether libvirt waits for a backup job that does not exist.

        This state remains when libvirt dies at the start of a backup job. libvirt 9.0 leaves it
        only after the machine is off and libvirt was restarted.
        """
        try:
            self._domain.jobInfo()
        except libvirt.libvirtError as error:
            return "backup job data missing" in str(error)
        return False

    def end_backup(self) -> None:
        """End the backup job and wait for its end; without a job do nothing.

        Raises Unavailable when the job does not end.
        """
        if self.backup() is None:
            return
        with _mapped():
            self._domain.abortJob()
        end = time.monotonic() + _JOB_SECONDS
        while self.backup() is not None:
            if time.monotonic() > end:
                raise Unavailable(
                    f"{self.name}: the backup job of the machine does not end; shut the "
                    "machine down and start it again"
                )
            time.sleep(0.02)

    def pull(self, device: str) -> None:
        """Start a block pull: copy the data of the backing file into a disk's image.

        A running job is no error.
        """
        if self.job(device) is None:
            with _mapped():
                self._domain.blockPull(device)

    def job(self, device: str) -> int | None:
        """Bytes processed by a disk's block job; None without a job."""
        with _mapped():
            found = self._domain.blockJobInfo(device)
        return int(found["cur"]) if found else None

    def end_job(self, device: str) -> None:
        """Abort a disk's block job; data copied so far stays."""
        with _mapped():
            self._domain.blockJobAbort(device)

    def migratable(self) -> str:
        """XML of the running machine for a migration, with the passwords of its screens."""
        with _mapped():
            flags = libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE
            return str(self._domain.XMLDesc(flags))

    def migrate(self, to: Host, live: str, definition: str, sockets: tuple[Path, Path]) -> None:
        """Live-migrate the machine with its disks to another libvirt on this machine.

        `live` and `definition` are its current and inactive XML there; `sockets` carry memory and
        disks. The machine is removed here after a success, and keeps running here after a failure.
        """
        memory, disks = sockets
        wanted = {
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: live,
            libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: definition,
            libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{memory}",
            libvirt.VIR_MIGRATE_PARAM_DISKS_URI: f"unix://{disks}",
        }
        flags = (
            libvirt.VIR_MIGRATE_LIVE
            | libvirt.VIR_MIGRATE_PERSIST_DEST
            | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
            | libvirt.VIR_MIGRATE_NON_SHARED_DISK
            | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
        )
        with _mapped():
            self._domain.migrate3(to.connection, wanted, flags)

    def moved(self) -> tuple[int, int]:
        """Bytes of the running migration: (total, processed); zeros without a migration."""
        try:
            with _mapped():
                found = self._domain.jobStats()
        except HaulbackError:
            return 0, 0
        parts = ("memory", "disk")
        total = sum(int(found.get(f"{part}_total", 0)) for part in parts)
        return total, sum(int(found.get(f"{part}_processed", 0)) for part in parts)

    def end_move(self) -> None:
        """Abort the running migration."""
        with _mapped():
            self._domain.abortJob()

    def freeze(self) -> int:
        """Freeze the guest's file systems through its agent; returns their number."""
        with _mapped():
            self._domain.agentSetResponseTimeout(_AGENT_SECONDS, 0)
            return int(self._domain.fsFreeze())

    def thaw(self) -> int:
        """Thaw the guest's file systems; returns the number of thawed file systems."""
        with _mapped():
            return int(self._domain.fsThaw())


class Host:
    """Connection to a libvirt. Raises Unavailable, or Unsupported without libvirt's binding."""

    def __init__(self, uri: str) -> None:
        if libvirt is None:
            raise Unsupported(f"{uri}: {_REMEDY}")
        libvirt.registerErrorHandler(_silent, None)
        try:
            self.connection = libvirt.open(uri)
        except libvirt.libvirtError as error:
            raise Unavailable(f"libvirt at {uri}: {error}; {_way_in(str(error))}") from None

    def domains(self) -> list[Domain]:
        with _mapped():
            return [Domain(one) for one in self.connection.listAllDomains()]

    def domain(self, uuid: str) -> Domain:
        """The machine with this uuid. Raises NotFound."""
        with _mapped():
            return Domain(self.connection.lookupByUUIDString(uuid))

    def run_once(self, xml: str) -> Domain:
        """Start a transient machine: libvirt forgets it when it stops."""
        with _mapped():
            return Domain(self.connection.createXML(xml, 0))

    def define(self, xml: str) -> Domain:
        """Define a machine, or redefine the machine with its uuid, atomically."""
        with _mapped():
            return Domain(self.connection.defineXML(xml))

    def volume(self, pool: str, name: str) -> str:
        """Path of a volume in a storage pool. Raises NotFound."""
        with _mapped():
            found = self.connection.storagePoolLookupByName(pool).storageVolLookupByName(name)
            return str(found.path())

    def networks(self) -> list[HypervisorResource] | None:
        """Networks of the host; None if this libvirt cannot list them."""
        try:
            with _mapped():
                found = self.connection.listAllNetworks()
                return [HypervisorResource(str(one.name()), str(one.UUIDString())) for one in found]
        except HaulbackError:
            return None

    def spaces(self) -> list[HypervisorResource] | None:
        """Active storage pools with their capacity; None if this libvirt cannot list them."""
        try:
            with _mapped():
                pools = self.connection.listAllStoragePools(
                    libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
                )
                told = ((str(pool.name()), str(pool.UUIDString()), pool.info()) for pool in pools)
                return [
                    HypervisorResource(name, uuid, int(info[1]), int(info[3]))
                    for name, uuid, info in told
                ]
        except HaulbackError:
            return None

    def pools(self) -> list[str]:
        """XML of all active storage pools; empty if this libvirt cannot list them."""
        try:
            with _mapped():
                found = self.connection.listAllStoragePools(
                    libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
                )
                return [str(one.XMLDesc(0)) for one in found]
        except HaulbackError:
            return []


@contextmanager
def _mapped() -> Iterator[None]:
    """Map libvirt's errors to the errors of `haulback.errors`."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise _error(error) from None


def _way_in(message: str) -> str:
    """The remedy for a connection to libvirt that failed with this message."""
    if "Permission denied" in message or "authentication" in message or "polkit" in message:
        name = user()
        return (
            f"the node runs as {name}: run the node as root, or add {name} to the group libvirt "
            f"(`usermod -aG libvirt {name}`) and start the node again"
        )
    if "No such file" in message or "Connection refused" in message:
        return (
            "start libvirt on this host (`systemctl start libvirtd`), install "
            "libvirt-daemon-system, or correct the URL"
        )
    return "correct the URL (`virsh -c URL list` tries the URL), and check that libvirt runs"


def _error(error: Any) -> Exception:
    text = f"libvirt: {error}"
    code = error.get_error_code()
    if code in (libvirt.VIR_ERR_ACCESS_DENIED, libvirt.VIR_ERR_OPERATION_DENIED):
        text = f"{text}; {_RIGHT}"
    kinds: dict[int, Callable[[str], Exception]] = {
        libvirt.VIR_ERR_NO_DOMAIN: NotFound,
        libvirt.VIR_ERR_NO_STORAGE_POOL: NotFound,
        libvirt.VIR_ERR_NO_STORAGE_VOL: NotFound,
        libvirt.VIR_ERR_NO_DOMAIN_BACKUP: NotFound,
        libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT: BrokenCheckpoint,
        libvirt.VIR_ERR_CHECKPOINT_INCONSISTENT: BrokenCheckpoint,
        libvirt.VIR_ERR_OPERATION_INVALID: SourceChanged,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED: Unsupported,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED: Unsupported,
        libvirt.VIR_ERR_NO_SUPPORT: Unsupported,
        libvirt.VIR_ERR_XML_ERROR: Malformed,
        libvirt.VIR_ERR_XML_DETAIL: Malformed,
        libvirt.VIR_ERR_DOM_EXIST: Conflict,
    }
    return kinds.get(code, Unavailable)(text)


def _silent(_: object, __: object) -> None:
    """Suppress libvirt's own error output; errors are raised as exceptions anyway."""
