"""Creation of a machine in the image folder: built in a hidden folder, visible at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from haulback.drivers.hypervisor import Machine
from haulback.drivers.imagefolder.definition import FILE, encode, image_names
from haulback.drivers.images.image_writer import ImageSink, check_disks, close_images, new_image
from haulback.drivers.sink import Sink
from haulback.durable_files import DurableFiles as Files
from haulback.durable_files import translate
from haulback.errors import Conflict, HaulbackError, Malformed
from haulback.texts import is_printable
from haulback.wire import JsonObject


class FolderMachine:
    """A NewMachine in the hidden `new_folder`; `place` names the folder and makes it visible."""

    def __init__(
        self,
        new_folder: Path,
        wanted: Machine,
        files: Files,
        place: Callable[[Path, Machine], Machine],
    ) -> None:
        self._new_folder, self._wanted, self._files, self._place = new_folder, wanted, files, place
        self._names = image_names([(disk.name, disk.format) for disk in wanted.disks])
        self._sinks: dict[str, ImageSink] = {}
        self._over, self._kept = False, set[str]()
        try:
            new_folder.mkdir(mode=0o700)
        except FileExistsError:
            raise Conflict(f"{new_folder} exists already; is the attempt running twice?") from None
        except OSError as error:
            raise translate(error, new_folder) from error
        try:
            for disk, name in zip(wanted.disks, self._names, strict=True):
                self._sinks[disk.name] = new_image(new_folder / name, disk)
        except BaseException:
            self.abandon()
            raise

    def sink(self, disk: str) -> Sink:
        return self._sinks[disk]

    def commit(self) -> Machine:
        if self._over:
            raise Conflict("the new machine was committed or abandoned already")
        try:
            self._close(sync=True)
            made = self._place(self._new_folder, self._described())
        except BaseException:
            self.abandon()
            raise
        self._over = True
        self._kept = {disk.name for disk in made.disks} - {disk.name for disk in self._wanted.disks}
        return made

    def left_out(self) -> list[str]:
        """Sentences about disks of the definition or the old machine that were not restored."""
        restored = {disk.was or disk.name for disk in self._wanted.disks}
        lost = [name for name in _named(self._wanted.definition) if name not in restored]
        return [
            f"{name} {'stays as it is' if name in self._kept else 'is left out'}: "
            "the disk was not restored"
            for name in dict.fromkeys([*lost, *sorted(self._kept)])
        ]

    def abandon(self) -> None:
        if self._over:
            return
        self._over = True
        with suppress(HaulbackError):
            self._close(sync=False)
        shutil.rmtree(self._new_folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.abandon()

    def _close(self, *, sync: bool) -> None:
        sinks, self._sinks = self._sinks, {}
        close_images(sinks.values(), sync=sync)

    def _described(self) -> Machine:
        disks = [
            {"name": disk.name, "file": file, "format": disk.format}
            for disk, file in zip(self._wanted.disks, self._names, strict=True)
        ]
        return self._wanted._replace(definition={**self._wanted.definition, "disks": disks})


def _named(definition: JsonObject) -> list[str]:
    """Names of the disks in a definition; none for the definition of another hypervisor."""
    said = definition.get("disks")
    disks = [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    return [one["name"] for one in disks if isinstance(one.get("name"), str)]


def record(new_folder: Path, folder_machine: Machine, files: Files) -> None:
    """Write machine.json, the last file of a machine, and make the folder durable."""
    definition = {
        **folder_machine.definition,
        "uuid": folder_machine.uuid,
        "name": folder_machine.name,
    }
    files.write_file(new_folder / FILE, encode(definition))


def check_wanted(wanted: Machine) -> None:
    """Check the description of a new machine. Raises Malformed or Unsupported."""
    if not is_printable(wanted.name, 240):
        raise Malformed("a machine's name is 1 to 240 printable characters")
    check_disks(wanted.disks)
    encode(wanted.definition)
