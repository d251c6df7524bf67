"""The one file that knows libvirt's own types: XML and plain values go in and out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from haulback.drivers.hypervisor import Place
from haulback.errors import (
    Conflict,
    HaulbackError,
    Malformed,
    NotFound,
    SourceChanged,
    Unavailable,
    Unsupported,
)

try:
    import libvirt
    import libvirt_qemu
except ImportError:
    libvirt = None

_AGENT_SECONDS = 10
_JOB_SECONDS = 30
_REMEDY = "install libvirt's binding (`pip install 'haulback[libvirt]'`; it needs libvirt-dev)"


class BrokenCheckpoint(Unavailable):
    """The record of changes since a checkpoint is missing or cannot be trusted."""


class Domain:
    """A machine as libvirt knows it."""

    def __init__(self, domain: Any) -> None:
        self._domain = domain
        self.uuid: str = domain.UUIDString()

    @property
    def name(self) -> str:
        with _mapped():
            return str(self._domain.name())

    @property
    def is_active(self) -> bool:
        """Whether it runs, or is paused."""
        with _mapped():
            return bool(self._domain.isActive())

    def definition(self) -> str:
        """Its XML as it will be at the next start."""
        with _mapped():
            return str(self._domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

    def live(self) -> str:
        """Its XML as it is now."""
        with _mapped():
            return str(self._domain.XMLDesc(0))

    def size(self, device: str) -> int:
        """A disk's size as the guest sees it, bytes."""
        with _mapped():
            return int(self._domain.blockInfo(device)[0])

    def start(self, *, paused: bool = False) -> None:
        """Power the machine on; `paused`: the machine waits until somebody resumes it."""
        with _mapped():
            self._domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)

    def in_managed_save(self) -> bool:
        """Whether the machine is off, and libvirt keeps its memory for the next start."""
        with _mapped():
            return bool(self._domain.hasManagedSaveImage())

    def was_saved(self) -> bool:
        """Whether the machine is off since its memory was saved, kept or given up since."""
        return self.in_managed_save() or self._is("SHUTOFF", "SAVED")

    def drop_memory(self) -> None:
        """Give up the memory of a machine in managed save; fine for any other machine."""
        if self.in_managed_save():
            with _mapped():
                self._domain.managedSaveRemove()

    def is_held(self) -> bool:
        """Whether somebody paused the machine; a machine that waits for a disk is not held."""
        return self._is("PAUSED", "USER", "UNKNOWN", "FROM_SNAPSHOT")

    def is_being_saved(self) -> bool:
        """Whether the machine's memory is written or sent elsewhere right now."""
        return self._is("PAUSED", "SAVE", "DUMP", "SNAPSHOT", "MIGRATION")

    def waits(self) -> bool:
        """Whether the machine was stopped because a disk could not be read or written."""
        return self._is("PAUSED", "IOERROR")

    def _is(self, state: str, *reasons: str) -> bool:
        """Whether the machine is in a state for one of the reasons, by libvirt's names for both."""
        with _mapped():
            now = tuple(self._domain.state()[:2])
        name = f"VIR_DOMAIN_{state}"
        wanted = (getattr(libvirt, f"{name}_{reason}") for reason in reasons)
        return now in [(getattr(libvirt, name), reason) for reason in wanted]

    def resume(self) -> None:
        with _mapped():
            self._domain.resume()

    def stop(self) -> None:
        """Pull the plug; fine when it is off or gone."""
        with suppress(NotFound, SourceChanged), _mapped():
            self._domain.destroy()

    def ask_agent(self, command: str, seconds: int = _AGENT_SECONDS) -> str:
        """The answer of the guest's agent, JSON in and out.  Raises Unavailable without one."""
        with _mapped():
            return str(libvirt_qemu.qemuAgentCommand(self._domain, command, seconds, 0))

    def ask_qemu(self, command: str) -> str:
        """The answer of the QEMU that runs it, JSON in and out."""
        with _mapped():
            return str(libvirt_qemu.qemuMonitorCommand(self._domain, command, 0))

    def screenshot(self) -> tuple[bytes, str] | None:
        """What its screen shows and the media type of that; None without a screen."""
        found = bytearray()
        try:
            with _mapped():
                stream = self._domain.connect().newStream()
                kind = self._domain.screenshot(stream, 0)
                stream.recvAll(lambda _, data, into: into.extend(data), found)
                stream.finish()
        except (Unavailable, Unsupported, SourceChanged, NotFound):
            return None
        return bytes(found), str(kind)

    def rename(self, name: str) -> None:
        """Only while it is stopped and has neither snapshots nor checkpoints."""
        with _mapped():
            self._domain.rename(name)

    def undefine(self) -> None:
        """Forget it and what libvirt keeps of it; its disks stay."""
        flags = (
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        )
        with _mapped():
            self._domain.undefineFlags(flags)

    def checkpoints(self) -> list[str]:
        """The names of those that libvirt knows."""
        with _mapped():
            return sorted(str(one.getName()) for one in self._domain.listAllCheckpoints())

    def checkpoint(self, name: str) -> str:
        """A checkpoint's XML.  Raises BrokenCheckpoint when libvirt does not know it."""
        flags = libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN
        with _mapped():
            return str(self._domain.checkpointLookupByName(name).getXMLDesc(flags))

    def adopt_checkpoint(self, xml: str) -> None:
        """Tell libvirt of bitmaps that are there already."""
        with _mapped():
            self._domain.checkpointCreateXML(xml, libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE)

    def delete_checkpoint(self, name: str, *, only_forget: bool) -> None:
        """With its bitmaps; or, with `only_forget`, libvirt's knowledge of it alone."""
        flags = libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY if only_forget else 0
        with _mapped():
            self._domain.checkpointLookupByName(name).delete(flags)

    def begin_backup(self, backup: str, checkpoint: str | None) -> None:
        """Freeze the disks at one moment and export them.  Raises BrokenCheckpoint."""
        with _mapped():
            self._domain.backupBegin(backup, checkpoint)

    def backup(self) -> str | None:
        """The XML of the backup that goes on, if one does."""
        try:
            with _mapped():
                return str(self._domain.backupGetXMLDesc())
        except (NotFound, SourceChanged):
            return None

    def is_stuck(self) -> bool:
        """Whether libvirt believes in a backup that nobody does: it died while that began.

        Until the machine is off and libvirt begins anew, nothing can be done with it (9.0).
        """
        try:
            self._domain.jobInfo()
        except libvirt.libvirtError as error:
            return "backup job data missing" in str(error)
        return False

    def end_backup(self) -> None:
        """Stop the export and wait until it is gone; fine when there is none."""
        if self.backup() is None:
            return
        with _mapped():
            self._domain.abortJob()
        end = time.monotonic() + _JOB_SECONDS
        while self.backup() is not None:
            if time.monotonic() > end:
                raise Unavailable(f"{self.name}: its backup job does not end")
            time.sleep(0.02)

    def pull(self, device: str) -> None:
        """Begin to copy into a disk's image what lies under it; fine when that goes on."""
        if self.job(device) is None:
            with _mapped():
                self._domain.blockPull(device)

    def job(self, device: str) -> int | None:
        """How many bytes a disk's block job has done; None when none goes on."""
        with _mapped():
            found = self._domain.blockJobInfo(device)
        return int(found["cur"]) if found else None

    def end_job(self, device: str) -> None:
        """End a disk's block job where it is."""
        with _mapped():
            self._domain.blockJobAbort(device)

    def migratable(self) -> str:
        """Its XML as another host would take it over."""
        with _mapped():
            return str(self._domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE))

    def migrate(self, to: Host, live: str, definition: str, sockets: tuple[Path, Path]) -> None:
        """Go on at another libvirt of this machine, disks and all, as these XMLs say.

        Memory and disks go through sockets.  It is gone here afterwards; else it goes on here.
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
        """Bytes of the job that goes on: all there are, and done; zeros when none does."""
        try:
            with _mapped():
                found = self._domain.jobStats()
        except HaulbackError:
            return 0, 0
        parts = ("memory", "disk")
        total = sum(int(found.get(f"{part}_total", 0)) for part in parts)
        return total, sum(int(found.get(f"{part}_processed", 0)) for part in parts)

    def end_move(self) -> None:
        """Give the job that goes on up."""
        with _mapped():
            self._domain.abortJob()

    def freeze(self) -> int:
        """Ask the guest's agent to flush and hold its file systems; how many there are."""
        with _mapped():
            self._domain.agentSetResponseTimeout(_AGENT_SECONDS, 0)
            return int(self._domain.fsFreeze())

    def thaw(self) -> int:
        """Let them go on; how many were held."""
        with _mapped():
            return int(self._domain.fsThaw())


class Host:
    """A connection to one libvirt.  Raises Unavailable, or Unsupported without the binding."""

    def __init__(self, uri: str) -> None:
        if libvirt is None:
            raise Unsupported(f"{uri}: {_REMEDY}")
        libvirt.registerErrorHandler(_silent, None)
        with _mapped():
            self.connection = libvirt.open(uri)

    def domains(self) -> list[Domain]:
        with _mapped():
            return [Domain(one) for one in self.connection.listAllDomains()]

    def domain(self, uuid: str) -> Domain:
        """Raises NotFound."""
        with _mapped():
            return Domain(self.connection.lookupByUUIDString(uuid))

    def run_once(self, xml: str) -> Domain:
        """Start a machine that is forgotten when it stops."""
        with _mapped():
            return Domain(self.connection.createXML(xml, 0))

    def define(self, xml: str) -> Domain:
        """Make a machine exist, or change the one of that uuid, in one step."""
        with _mapped():
            return Domain(self.connection.defineXML(xml))

    def volume(self, pool: str, name: str) -> str:
        """Where a volume of a pool lies.  Raises NotFound."""
        with _mapped():
            found = self.connection.storagePoolLookupByName(pool).storageVolLookupByName(name)
            return str(found.path())

    def networks(self) -> list[Place] | None:
        """None from a libvirt that was built without."""
        try:
            with _mapped():
                found = self.connection.listAllNetworks()
                return [Place(str(one.name()), str(one.UUIDString())) for one in found]
        except HaulbackError:
            return None

    def spaces(self) -> list[Place] | None:
        """The active storage pools; None as above."""
        try:
            with _mapped():
                found = self.connection.listAllStoragePools(
                    libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
                )
                told = ((str(one.name()), str(one.UUIDString()), one.info()) for one in found)
                return [Place(name, uuid, int(info[1]), int(info[3])) for name, uuid, info in told]
        except HaulbackError:
            return None

    def pools(self) -> list[str]:
        """The XML of every active storage pool; none from a libvirt that was built without."""
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
    """libvirt's errors in our words."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise _error(error) from None


def _error(error: Any) -> Exception:
    text = f"libvirt: {error}"
    code = error.get_error_code()
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
    """libvirt would print every error besides raising it."""
