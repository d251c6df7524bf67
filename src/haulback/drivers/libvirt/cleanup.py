"""Leftovers of dead attempts on a host: notes, unfinished machines, booted copies, backup jobs."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable, Set
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from haulback.drivers.images import internal_snapshots
from haulback.drivers.images.internal_snapshots import RevertNote
from haulback.drivers.images.notes import is_carried_out
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt import firmware, machine_builder
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.drivers.libvirt.domain import DomainDisk
from haulback.drivers.libvirt.volumes import folders, located, opened
from haulback.durable_files import DurableFiles as Files
from haulback.errors import NotFound
from haulback.libvirt_xml import parse

_ATTEMPT = r"(?P<attempt>[A-Za-z0-9_-]{1,64})"
_IMAGE_FOLDER = re.compile(rf".+\.haulback-{_ATTEMPT}")
WORKING = re.compile(rf"haulback-{_ATTEMPT}")
SOCKET = re.compile(rf"/haulback-{_ATTEMPT}/nbd")
_GONE = re.compile(rf"\.haulback-{_ATTEMPT}\.gone")
_BACK = re.compile(rf"\.haulback-{_ATTEMPT}\.back")
_STARTS = re.compile(rf"\.haulback-{_ATTEMPT}\.starts")


class FilesToDelete(msgspec.Struct, frozen=True, omit_defaults=True):
    """Note of the files to delete with a machine.

    `replaced` is the uuid of a machine that gets other disks, "" for a machine that is removed. The
    saved memory of a replaced machine is removed too, but only once the digest of its definition
    differs from `was`.
    """

    paths: list[str]
    replaced: str = ""
    was: str = ""


class Leftovers:
    """Notes in the `storage` of a host, and other state that carries the name of an attempt.

    The caller must hold the lock on the storage.
    """

    def __init__(self, host: Host, storage: Path, work: Path, files: Files) -> None:
        self._host, self._storage, self._work, self._files = host, storage, work, files

    def note_gone(self, attempt: str, domain: Domain, *, moves: bool = False) -> Path:
        """Record the files that are deleted with a machine, so that a later sweep can finish it.

        With `moves` the firmware's variables are left out: the moved machine may use the same path.
        """
        text = domain.definition()
        paths = _own(located(self._host, text)) + ([] if moves else _variables(text))
        return self._note(attempt, FilesToDelete(list(map(str, paths))))

    def note_replaced(self, attempt: str, domain: Domain, devices: Set[str] | None) -> Path:
        """Record the files and the saved memory that a machine loses when its disks are replaced.

        `devices` names the replaced disks; None means all disks.
        """
        text = domain.definition()
        volumes = [v for v in located(self._host, text) if devices is None or v.device in devices]
        paths = _own(volumes) + _variables(text)
        return self._note(attempt, FilesToDelete(list(map(str, paths)), domain.uuid, _digest(text)))

    def _note(self, attempt: str, gone: FilesToDelete) -> Path:
        note = self._storage / f".haulback-{attempt}.gone"
        self._files.write_file(note, msgspec.json.encode(gone))
        return note

    def carry_out(self, note: Path) -> None:
        """Delete the files of a note, except those that a machine still uses.

        Raises Unavailable when it cannot be determined which files are in use.
        """
        recorded = msgspec.json.decode(note.read_bytes(), type=FilesToDelete | list[str])
        # A list is the note of an older version.
        gone = recorded if isinstance(recorded, FilesToDelete) else FilesToDelete(recorded)
        self._drop_memory(gone)
        used = self.used()
        for path in map(Path, gone.paths):
            if path not in used and not _is_no_file(path):
                path.unlink(missing_ok=True)
                with suppress(OSError):  # the folder no longer exists, or holds other files
                    if _IMAGE_FOLDER.fullmatch(path.parent.name):
                        path.parent.rmdir()
        note.unlink()

    def _drop_memory(self, gone: FilesToDelete) -> None:
        """Remove the saved memory of a replaced machine, which belongs to its old disks.

        A machine with its old definition still has its old disks and keeps the memory.
        """
        if not gone.replaced:
            return
        with suppress(NotFound):
            domain = self._host.domain(gone.replaced)
            if _digest(domain.definition()) != gone.was:
                domain.drop_memory()

    def note_start(self, attempt: str, uuid: str) -> Path:
        """Record that a machine, which is about to be defined, starts with its host."""
        note = self._storage / f".haulback-{attempt}.starts"
        self._files.write_file(note, uuid.encode())
        return note

    def let_start(self, note: Path) -> None:
        """Let the machine of a note start with its host; a removed machine is no error."""
        with suppress(NotFound):
            self._host.domain(note.read_text()).set_autostart()
        note.unlink()

    def note_back(self, attempt: str, reverting: RevertNote) -> Path:
        """Record a revert that is about to start, so that a later sweep can undo it."""
        note = self.back_note(attempt)
        self._files.write_file(note, msgspec.json.encode(reverting))
        return note

    def back_note(self, attempt: str) -> Path:
        """Path of the note of a revert."""
        return self._storage / f".haulback-{attempt}.back"

    def undo(self, note: Path) -> None:
        """Undo an interrupted revert, unless the machine was started since.

        A machine in managed save was started as well: its memory belongs to the current disks.
        """
        wanted = msgspec.json.decode(note.read_bytes(), type=RevertNote)
        try:
            domain = self._host.domain(wanted.uuid)
        except NotFound:
            note.unlink()
            return
        if not domain.is_active and not domain.in_managed_save():
            with opened(located(self._host, domain.definition())) as images:
                internal_snapshots.undo(internal_snapshots.able(images), wanted.before)
            if wanted.ran:
                domain.start(paused=wanted.paused)
        note.unlink()

    def used(self) -> set[Path]:
        """Paths of all images that any machine refers to.

        Any error is raised: with an incomplete list a sweep could delete images in use.
        """
        paths: set[Path] = set()
        for domain in self._host.domains():
            with suppress(NotFound):  # the machine was removed since it was listed
                for text in (domain.definition(), domain.live()):
                    paths |= {*self._files_of(text), *xml.places(parse(text))}
        return paths

    def _files_of(self, text: str) -> list[Path]:
        """All files of the host that a machine needs."""
        images = [volume.path for volume in located(self._host, text) if volume.path]
        return images + _variables(text)

    def sweep(self, alive: Set[str]) -> list[str]:
        """Remove or undo everything that attempts not in `alive` left; returns the names."""
        ended = self._copies(alive) + self._jobs(alive)
        work_folders = [self._work / name for name in _dead(self._work, WORKING, alive)]
        notes = [self._storage / name for name in _dead(self._storage, _BACK, alive)]
        back = [note for note in notes if is_carried_out(self.undo, note)]
        for name in _dead(self._storage, _STARTS, alive):
            is_carried_out(self.let_start, self._storage / name)
        for name in _dead(self._storage, _GONE, alive):
            self.carry_out(self._storage / name)
        swept = work_folders + self._halves(alive)
        for path in swept:
            shutil.rmtree(path, ignore_errors=True)
        return sorted({*ended, *(path.name for path in [*swept, *back])})

    def _halves(self, alive: Set[str]) -> list[Path]:
        """Folders of machines that were never defined.

        The folder of a finished machine belongs to its machine and stays, even after the machine is
        undefined.
        """
        places = {self._storage, *folders(self._host).values()}
        image_folders = [
            place / name for place in places for name in _dead(place, _IMAGE_FOLDER, alive)
        ]
        marked = [folder for folder in image_folders if self._is_half(folder)]
        used = {path.parent for path in self.used()} if marked else set[Path]()
        for folder in marked:
            if folder in used:  # the attempt died right after libvirt had defined the machine
                (folder / machine_builder.UNFINISHED).unlink()
        return [folder for folder in marked if folder not in used]

    def _is_half(self, folder: Path) -> bool:
        """Whether a folder is an unfinished folder of Haulback; other hosts may use the same
        pool.
        """
        try:
            mark = (folder / machine_builder.UNFINISHED).read_text()
        except OSError:
            return False
        return mark == machine_builder.mark_of(self._work) or (
            not mark and folder.parent == self._storage
        )

    def _copies(self, alive: Set[str]) -> list[str]:
        """Stop machines that were booted for a proof by a dead attempt; returns their names."""
        swept = []
        for domain in self._host.domains():
            with suppress(NotFound):
                match = WORKING.fullmatch(domain.name)
                ours = match and f"{self._work}/{domain.name}/" in domain.live()
                if match and ours and match["attempt"] not in alive:
                    domain.stop()
                    swept.append(domain.name)
        return swept

    def _jobs(self, alive: Set[str]) -> list[str]:
        """End backup jobs of dead attempts; jobs of other installations stay."""
        swept = []
        for domain in self._host.domains():
            with suppress(NotFound):
                text = domain.backup() or "" if domain.is_active else ""
                match = SOCKET.search(text)
                if match and f"{self._work}{match[0]}" in text and match["attempt"] not in alive:
                    domain.end_backup()
                    swept.append(f"haulback-{match['attempt']}")
        return swept


def _own(volumes: Iterable[DomainDisk]) -> list[Path]:
    """Images that belong to one machine only; a shared disk may be in use on another host."""
    return [volume.path for volume in volumes if volume.path and not volume.shared]


def _variables(text: str) -> list[Path]:
    path = firmware.path_of(parse(text))
    return [path] if path else []


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _is_no_file(path: Path) -> bool:
    """Whether a path is a device or a link, which is never deleted."""
    try:
        return not stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False  # the image is deleted already


def _dead(folder: Path, pattern: re.Pattern[str], alive: Set[str]) -> list[str]:
    """Names in a folder that contain an attempt which is not in `alive`."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    found = ((name, pattern.fullmatch(name)) for name in names)
    return [name for name, match in found if match and match["attempt"] not in alive]
