"""Creation of a machine under libvirt: images first, then one step that defines it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.drivers.images import overlay
from haulback.drivers.images.image_writer import ImageSink, check_disks, close_images, new_image
from haulback.drivers.libvirt import firmware
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.drivers.libvirt.volumes import folders
from haulback.drivers.sink import Sink
from haulback.durable_files import translate
from haulback.errors import Conflict, HaulbackError, Malformed, NotFound, SourceChanged
from haulback.texts import is_printable


class DefinedMachine(NamedTuple):
    """The new machine, and a sentence for each device that it lacks."""

    machine: Machine
    left: list[str]


Place = Callable[[Machine, Mapping[str, Path]], DefinedMachine]
UNFINISHED = "unfinished"  # file in a machine's folder until libvirt has defined the machine


class ImageFolders(NamedTuple):
    """Folders of the images of a new machine.

    `folder_of` returns the folder for a disk, or for a machine without disks (None). `is_used`
    tells whether a machine of libvirt has images in a folder. `mark` is written to unfinished
    folders and names the installation to which the folders belong.
    """

    folder_of: Callable[[MachineDisk | None], Path]
    is_used: Callable[[Path], bool]
    mark: str


class NewDomain:
    """A NewMachine whose images are in folders where they stay; `place` defines it in libvirt.

    With `share` the images are overlays on the mount's exports, and the sinks are not written to.
    """

    def __init__(
        self, wanted: Machine, place: Place, folders: ImageFolders, share: Path | None = None
    ) -> None:
        self._wanted, self._place = wanted, place
        folder_of, self._is_used, self._mark = folders
        self._paths = {
            disk.name: folder_of(disk) / f"disk{number}.{disk.format}"
            for number, disk in enumerate(wanted.disks)
        }
        image_folders = list(dict.fromkeys(path.parent for path in self._paths.values())) or [
            folder_of(None)
        ]
        self._folders: list[Path] = []  # folders that this machine created
        self._sinks: dict[str, ImageSink] = {}
        self._over = False
        self._left: list[str] = []
        try:
            for folder in image_folders:
                self._enter(folder)
            firmware.write(wanted.definition, image_folders[0])
            for disk in wanted.disks:
                path = self._paths[disk.name]
                if share:
                    overlay.make(path, overlay.NbdExport(str(share), disk.was or disk.name))
                else:
                    self._sinks[disk.name] = new_image(path, disk)
        except BaseException:
            self.abandon()
            raise

    def _enter(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o711)  # QEMU may run as another user and has to reach its images
        except FileExistsError:
            raise Conflict(f"{folder} exists already; is the attempt running twice?") from None
        except OSError as error:
            raise translate(error, folder) from error
        self._folders.append(folder)
        (folder / UNFINISHED).write_text(self._mark)

    def sink(self, disk: str) -> Sink:
        return self._sinks[disk]

    def commit(self) -> Machine:
        if self._over:
            raise Conflict("the new machine was committed or abandoned already")
        try:
            self._close(sync=True)
        except BaseException:
            self.abandon()
            raise
        try:
            made, self._left = self._place(self._wanted, self._paths)
        except BaseException:
            self._over = self._may_be_used()
            self.abandon()
            raise
        self._over = True
        # The images belong to the machine now; a sweep must not delete them even if it is removed.
        for folder in self._folders:
            (folder / UNFINISHED).unlink(missing_ok=True)
        return made

    def left_out(self) -> list[str]:
        return self._left

    def _may_be_used(self) -> bool:
        """Whether libvirt may have defined the machine although the call failed.

        The images then stay, and a later sweep decides.
        """
        try:
            return any(self._is_used(folder) for folder in self._folders)
        except HaulbackError:
            return True

    def abandon(self) -> None:
        if self._over:
            return
        self._over = True
        with suppress(HaulbackError):
            self._close(sync=False)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.abandon()

    def _close(self, *, sync: bool) -> None:
        sinks, self._sinks = self._sinks, {}
        close_images(sinks.values(), sync=sync)


def mark_of(work: Path) -> str:
    """Identity of an installation for unfinished folders; hosts and installations may share
    pools.
    """
    try:
        host = Path("/etc/machine-id").read_text().strip()
    except OSError:
        host = socket.gethostname()
    return f"{host} {work}"


def folder_chooser(host: Host, storage: Path, leaf: str) -> Callable[[MachineDisk | None], Path]:
    """Function that returns the folder of a disk's images: in its storage pool, or in `storage`.

    The function raises NotFound for a storage pool that is no folder.
    """

    def folder_of(disk: MachineDisk | None) -> Path:
        return folder_for(host, storage, disk) / leaf

    return folder_of


def folder_for(host: Host, storage: Path, disk: MachineDisk | None) -> Path:
    """The folder for the images of machines: the disk's storage pool, or `storage`.

    Raises NotFound for a storage pool that is no folder.
    """
    if not disk or not disk.store:
        return storage
    pools = folders(host)
    if disk.store not in pools:
        raise NotFound(f"{disk.name}: there is no storage pool {disk.store} that is a folder")
    return pools[disk.store]


def check_wanted(wanted: Machine) -> None:
    """Check the description of a new machine. Raises Malformed or Unsupported."""
    name = wanted.name
    if not is_printable(name) or "/" in name:
        raise Malformed("a machine's name is 1 to 200 printable characters without a slash")
    check_disks(wanted.disks)


def replaced(domains: list[Domain], wanted: Machine) -> Domain | None:
    """The machine that an overwriting restore replaces: with the given uuid, or otherwise with the
    given name.
    """
    same = [one for one in domains if wanted.uuid and one.uuid == wanted.uuid.lower()]
    same = same or [one for one in domains if one.name == wanted.name]
    return same[0] if same else None


def refuse_if_running(domain: Domain) -> None:
    """Raises SourceChanged for a running machine."""
    if domain.is_active:
        raise SourceChanged(f"{domain.name} is running; stop it before it is replaced or removed")
