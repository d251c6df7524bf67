"""Disks that a machine keeps when a backup without them is restored over it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from haulback.drivers.hypervisor import Machine
from haulback.drivers.imagefolder.definition import Definition, image_names
from haulback.drivers.images.image import Image
from haulback.durable_files import DurableFiles as Files
from haulback.durable_files import translate
from haulback.errors import HaulbackError


def with_retained_disks(
    new_folder: Path, made: Machine, folder: Path, old: Definition, files: Files
) -> Machine:
    """The machine `made` in `new_folder`, plus the disks of the old machine that were not restored.

    Images are hard-linked, so that the old folder stays complete until it is deleted. A machine
    that is overwritten by a backup of another machine keeps no disk. A disk whose image is missing
    is left out; an unreadable image is kept as a file, but not as a disk.

    Raises Unavailable when an image cannot be linked.
    """
    if str(made.definition.get("uuid", "")).lower() != old.uuid:
        return made
    restored = {name for disk in made.disks for name in (disk.was, disk.name)}
    rest = [
        disk
        for disk in old.disks
        if disk.name not in restored and os.path.lexists(folder / disk.file)
    ]
    disks = list(made.definition["disks"])
    known = [(disk["name"], disk["format"]) for disk in disks]
    names = image_names([*known, *((disk.name, disk.format) for disk in rest)])[len(known) :]
    for disk, name in zip(rest, names, strict=True):
        _link(folder / disk.file, new_folder / name, files)
        with suppress(HaulbackError), Image(folder, disk):
            disks.append({"name": disk.name, "file": name, "format": disk.format})
    return made._replace(definition={**made.definition, "disks": disks})


def _link(image: Path, new: Path, files: Files) -> None:
    try:
        files.link(image, new)
    except OSError as error:
        raise translate(error, image) from error
