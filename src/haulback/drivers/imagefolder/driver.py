"""Driver of an image folder: one sub-folder per machine; work in progress is hidden."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from haulback.drivers.free_space import FreeSpace, free_spaces
from haulback.drivers.hypervisor import Inventory, Machine, Problem
from haulback.drivers.imagefolder import machine_builder, retained_disks
from haulback.drivers.imagefolder.definition import (
    FILE,
    LARGEST,
    Definition,
    canonical,
    decode,
    folder_name,
    new_uuid,
)
from haulback.drivers.imagefolder.known_machines import MachinePlaces
from haulback.drivers.images import image_reader, internal_snapshots, qemu
from haulback.drivers.images.image import Image, read_regular
from haulback.drivers.images.image_writer import free_name
from haulback.drivers.images.internal_snapshots import RevertNote
from haulback.drivers.images.notes import is_carried_out
from haulback.durable_files import DurableFiles as Files
from haulback.durable_files import translate
from haulback.errors import (
    HaulbackError,
    Malformed,
    NotFound,
    Unavailable,
    Unsupported,
)
from haulback.hypervisor_types import IMAGE_FOLDER
from haulback.system_errors import denied, user

_ATTEMPT = re.compile(r"[A-Za-z0-9_-]{1,64}")
# .haulback-ATTEMPT: a machine under construction; .old.NAME: the replaced machine NAME, set aside;
# .gone.NAME: a machine that is being removed.
_HIDDEN = re.compile(
    r"\.haulback-(?P<attempt>[A-Za-z0-9_-]{1,64})(?:\.(?P<state>old|gone)\.(?P<name>.+))?"
)
# A note of a running revert, with the machine and the snapshot of its previous state.
_BACK = re.compile(r"\.haulback-(?P<attempt>[A-Za-z0-9_-]{1,64})\.back")
_IMAGES = {".raw", ".img", ".qcow2"}


class ImageFolder:
    """Driver over the machines in `root`; `files` carries out the durable changes."""

    declaration = IMAGE_FOLDER
    # Shared by all drivers of the process, because a driver exists for one task only.
    _machine_places = MachinePlaces()

    def __init__(self, root: Path, files: Files | None = None) -> None:
        self.root, self._files = root, files or Files()

    def check(self) -> None:
        try:
            is_folder = self.root.is_dir()
        except OSError as error:
            raise Unavailable(f"the image folder {self.root}: {denied(error)}") from None
        if not is_folder:
            raise Unavailable(f"the image folder {self.root} is missing; create or mount it")
        if not os.access(self.root, os.R_OK | os.X_OK):
            raise Unavailable(
                f"the image folder {self.root} is not readable: give the user {user()} the right "
                "to read it"
            )

    def inventory(self) -> Inventory:
        folders, problems = self._scan()
        with suppress(OSError):
            self._machine_places.learn(self.root)  # later exports then need no scan
        machines: list[Machine] = []
        places: dict[str, str] = {}
        twice = [uuid for uuid, many in Counter(d.uuid for _, d in folders).items() if many > 1]
        for folder, definition in folders:
            try:
                if definition.uuid in twice:
                    raise self._ambiguous(definition.uuid)
                machines.append(_measure(folder, definition))
                places[definition.uuid] = folder.name
            except HaulbackError as error:
                problems.append(Problem(folder.name, error.message, definition.uuid))
        machines.sort(key=lambda machine: (machine.name, machine.uuid))
        return Inventory(machines, sorted(problems), places=places)

    def machine(self, uuid: str) -> Machine:
        return _measure(*self._find(uuid))

    def folder_of(self, uuid: str) -> Path:
        """The folder of a machine.  Raises NotFound."""
        return self._find(uuid)[0]

    def snapshot(
        self, uuid: str, attempt: str, base: str | None = None
    ) -> image_reader.FolderSnapshot:
        checkpoint = image_reader.PREFIX + _checked(attempt)
        folder, definition = self._find(uuid)
        images = _open(folder, definition)
        return image_reader.FolderSnapshot(_machine(definition, images), images, checkpoint, base)

    def drop_checkpoints(self, uuid: str, keep: Set[str]) -> list[str]:
        with _opened(*self._find(uuid)) as images:
            unwanted = image_reader.checkpoints(images) - keep
            image_reader.drop(images, unwanted)
        return sorted(unwanted)

    def take_snapshot(self, uuid: str, name: str) -> str:
        with self._alone(), _opened(*self._find(uuid)) as images:
            internal_snapshots.take(internal_snapshots.able(images), name)
        return "STOPPED"

    def revert(self, uuid: str, name: str, before: str, attempt: str) -> None:
        note = self.root / f".haulback-{_checked(attempt)}.back"
        with self._alone(), _opened(*self._find(uuid)) as images:
            paths = internal_snapshots.able(images)
            internal_snapshots.check(paths, name)
            # The note precedes all changes, so that a sweep can undo an interrupted revert.
            self._files.write_file(note, msgspec.json.encode(RevertNote(canonical(uuid), before)))
            internal_snapshots.revert(paths, name, before)
            note.unlink()

    def remove_snapshots(self, uuid: str, names: Set[str]) -> list[str]:
        with _opened(*self._find(uuid)) as images:
            return internal_snapshots.remove([image.path for image in images if image.qcow2], names)

    def create(
        self, wanted: Machine, attempt: str, *, overwrite: bool = False
    ) -> machine_builder.FolderMachine:
        self.check()
        machine_builder.check_wanted(wanted)
        identity = canonical(wanted.uuid) if wanted.uuid else ""
        wanted = wanted._replace(uuid=identity)

        def place(new_folder: Path, machine: Machine) -> Machine:
            return self._place(new_folder, machine, attempt, overwrite)

        new_folder = self.root / f".haulback-{_checked(attempt)}"
        return machine_builder.FolderMachine(new_folder, wanted, self._files, place)

    def space(self, wanted: Machine) -> list[FreeSpace]:
        return free_spaces((disk.name, self.root) for disk in wanted.disks)

    def remove(self, uuid: str) -> None:
        with self._alone():
            try:
                folder, definition = self._find(uuid)
            except NotFound:
                return
            _refuse_if_written(folder, definition)
            # The folder is renamed first, so that an interrupted removal leaves no half machine;
            # a sweep deletes the renamed folder.
            aside = self.root / f".haulback-{new_uuid()}.gone.{folder.name}"
            self._rename(folder, aside)
            self._files.sync_folder(self.root)
        shutil.rmtree(aside, ignore_errors=True)

    def sweep(self, alive: Set[str]) -> list[str]:
        self.check()
        with self._alone():
            found = [path for path in self.root.iterdir() if self._is_leftover(path, alive)]
            swept = [path for path in found if self._is_undone(path)]
            self._files.sync_folder(self.root)
        return sorted(path.name for path in swept)

    def close(self) -> None:
        """Do nothing, because no connection is open."""

    def _is_leftover(self, path: Path, alive: Set[str]) -> bool:
        hidden = _HIDDEN.fullmatch(path.name) or _BACK.fullmatch(path.name)
        return hidden is not None and hidden["attempt"] not in alive

    def _is_undone(self, path: Path) -> bool:
        """Undo one leftover; returns False for a revert that cannot be undone now.

        Such a revert stays for the next sweep and does not stop this sweep.
        """
        if not _BACK.fullmatch(path.name):
            self._undo(path)
            return True
        return is_carried_out(self._undo_revert, path)

    def _undo_revert(self, note: Path) -> None:
        wanted = msgspec.json.decode(read_regular(note, LARGEST), type=RevertNote)
        with suppress(NotFound), _opened(*self._find(wanted.uuid)) as images:
            internal_snapshots.undo(internal_snapshots.able(images), wanted.before)
        note.unlink()

    def _undo(self, path: Path) -> None:
        """Restore a replaced machine whose folder is still vacant; delete any other leftover."""
        hidden = _HIDDEN.fullmatch(path.name)
        if hidden and hidden["state"] == "old" and not (self.root / hidden["name"]).exists():
            self._rename(path, self.root / hidden["name"])
        else:
            shutil.rmtree(path, ignore_errors=True)

    def _scan(self) -> tuple[list[tuple[Path, Definition]], list[Problem]]:
        """Folders with a definition, sorted by name, and folders whose definition is missing or
        bad.
        """
        self.check()
        folders: list[tuple[Path, Definition]] = []
        problems: list[Problem] = []
        for folder in self._folders():
            try:
                if definition := _define(folder):
                    folders.append((folder, definition))
            except HaulbackError as error:
                problems.append(Problem(folder.name, error.message))
        return folders, problems

    def _folders(self) -> list[Path]:
        try:
            return sorted(self.root.iterdir())
        except OSError as error:
            raise Unavailable(f"the image folder {self.root}: {denied(error)}") from None

    def _find(self, uuid: str) -> tuple[Path, Definition]:
        wanted = canonical(uuid)
        matches = self._known(wanted)
        if not matches:  # the known folders may be outdated
            self._machine_places.forget(self.root)
            matches = [match for match in self._scan()[0] if match[1].uuid == wanted]
        if len(matches) > 1:
            raise self._ambiguous(wanted)
        if not matches:
            raise self._unreadable(wanted) or self._missing(wanted)
        return matches[0]

    def _missing(self, uuid: str) -> NotFound:
        """The error of a machine that no definition names, with the folders that cannot be read."""
        unread = ", ".join(f"{problem.where} ({problem.message})" for problem in self._scan()[1])
        more = f"; these folders cannot be read: {unread}"[:500] if unread else ""
        return NotFound(
            f"no machine in {self.root} has the uuid {uuid}{more}; correct `uuid` in its "
            f"{FILE}, or put its folder back"
        )

    def _unreadable(self, uuid: str) -> Malformed | None:
        """The error of a machine whose definition holds this uuid, but cannot be read."""
        for problem in self._scan()[1]:
            file = self.root / problem.where / FILE
            with suppress(OSError, HaulbackError):
                if uuid.encode() in read_regular(file, LARGEST + 1).lower():
                    return Malformed(f"{file.parent}: {problem.message}")
        return None

    def _known(self, uuid: str) -> list[tuple[Path, Definition]]:
        """The folders of a machine and their present definitions, found by stamps of files."""
        self.check()
        try:
            folders = self._machine_places.folders(self.root, uuid)
        except OSError as error:
            raise Unavailable(f"the image folder {self.root}: {error.strerror}") from None
        matches: list[tuple[Path, Definition]] = []
        for folder in folders:
            with suppress(HaulbackError):
                if (definition := _define(folder)) and definition.uuid == uuid:
                    matches.append((folder, definition))
        return matches

    def _ambiguous(self, uuid: str) -> Malformed:
        return Malformed(
            f"several machines in {self.root} have the uuid {uuid}; give each machine its own uuid"
        )

    def _place(self, new_folder: Path, wanted: Machine, attempt: str, overwrite: bool) -> Machine:
        """Give a complete machine its uuid, name and folder."""
        with self._alone():
            self._undo_exchanges()
            folders, _ = self._scan()
            old = _replaced(folders, wanted) if overwrite else None
            made = _settled(wanted, old, [other for other in folders if other != old])
            made = (
                retained_disks.with_retained_disks(new_folder, made, *old, self._files)
                if old
                else made
            )
            machine_builder.record(new_folder, made, self._files)
            complete = _measure(new_folder, decode(read_regular(new_folder / FILE, LARGEST + 1)))
            if old:
                self._exchange(new_folder, old, attempt)
                return complete
            name = free_name(self._is_taken, folder_name(made.name))
            self._rename(new_folder, self.root / name)
            self._files.sync_folder(self.root)
            return complete

    def _undo_exchanges(self) -> None:
        """Undo interrupted replacements.

        This process holds the lock, so a machine that is set aside belongs to a process that died.
        """
        for path in self.root.glob(".haulback-*.old.*"):
            self._undo(path)

    def _exchange(self, new_folder: Path, old: tuple[Path, Definition], attempt: str) -> None:
        """Replace a machine's folder by `new_folder`; until the second rename `sweep` can undo the
        step.
        """
        folder, definition = old
        _refuse_if_written(folder, definition)
        aside = self.root / f".haulback-{attempt}.old.{folder.name}"
        self._rename(folder, aside)
        self._files.sync_folder(self.root)
        try:
            self._rename(new_folder, folder)
        except HaulbackError:
            self._rename(aside, folder)
            raise
        self._files.sync_folder(self.root)
        shutil.rmtree(aside, ignore_errors=True)

    def _is_taken(self, name: str) -> bool:
        return os.path.lexists(self.root / name)

    def _rename(self, old: Path, new: Path) -> None:
        try:
            self._files.replace(old, new)
        except OSError as error:
            raise translate(error, new) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock on the root folder: no other process adds, replaces or removes machines."""
        self.check()
        with qemu.locked_folder(self.root):
            yield


def _define(folder: Path) -> Definition | None:
    """The definition in a sub-folder; None for a folder that is no machine."""
    try:
        if folder.name.startswith(".") or not folder.is_dir():
            return None
        if folder.is_symlink():
            raise Malformed("is a symbolic link and is not followed; move the machine here")
        if os.path.lexists(folder / FILE):
            return decode(read_regular(folder / FILE, LARGEST + 1))
        if any(path.suffix in _IMAGES for path in folder.iterdir()):
            raise Malformed(f"holds images but no {FILE}; write one, as the README shows")
    except OSError as error:
        raise Unavailable(f"cannot be read: {denied(error)}") from None
    return None


def _measure(folder: Path, definition: Definition) -> Machine:
    with _opened(folder, definition) as images:
        return _machine(definition, images)._replace(snapshots=internal_snapshots.listed(images))


def _machine(definition: Definition, images: Sequence[Image]) -> Machine:
    disks = tuple(image_reader.disk_of(image) for image in images)
    return Machine(definition.uuid, definition.name, disks, definition.whole)


@contextmanager
def _opened(folder: Path, definition: Definition) -> Iterator[list[Image]]:
    """Open the images of a machine for the duration of the block."""
    images = _open(folder, definition)
    try:
        yield images
    finally:
        _close(images)


def _open(folder: Path, definition: Definition) -> list[Image]:
    """Open all images of a machine; after an error no image stays open."""
    images: list[Image] = []
    try:
        for disk in definition.disks:
            images.append(Image(folder, disk))
    except BaseException:
        _close(images)
        raise
    return images


def _close(images: Sequence[Image]) -> None:
    for image in images:
        image.close()


def _refuse_if_written(folder: Path, definition: Definition) -> None:
    """Raises SourceChanged when an image is in use; broken images count as unused."""
    for disk in definition.disks:
        with suppress(Unavailable, Unsupported, Malformed), Image(folder, disk) as image:
            image.refuse_if_written()


def _replaced(
    present: Sequence[tuple[Path, Definition]], wanted: Machine
) -> tuple[Path, Definition] | None:
    """The machine that an overwriting restore replaces: with that uuid, or else with that name."""
    same = [old for old in present if old[1].uuid == wanted.uuid]
    same = same or [old for old in present if old[1].name == wanted.name]
    if len(same) > 1:
        raise Malformed(
            f"{len(same)} machines have the name {wanted.name!r}; name the uuid of the machine"
        )
    return same[0] if same else None


def _settled(
    wanted: Machine,
    old: tuple[Path, Definition] | None,
    others: Sequence[tuple[Path, Definition]],
) -> Machine:
    """The machine with a uuid and a name that no other machine has."""
    uuids = {definition.uuid for _, definition in others}
    names = {definition.name for _, definition in others}
    uuid = wanted.uuid or (old[1].uuid if old else "")
    return wanted._replace(
        uuid=new_uuid() if not uuid or uuid in uuids else uuid,
        name=free_name(names.__contains__, wanted.name),
    )


def _checked(attempt: str) -> str:
    if not _ATTEMPT.fullmatch(attempt):
        raise Malformed(f"{attempt[:80]!r} is not a valid name of an attempt")
    return attempt
