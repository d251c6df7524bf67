"""What dead attempts left on a host: notes of what goes, half made machines, copies, jobs."""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
from collections.abc import Iterable, Set
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from haulback.disk import Disk as Files
from haulback.drivers.images import taken
from haulback.drivers.images.taken import Reverting
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt import firmware, making
from haulback.drivers.libvirt.domain import Volume
from haulback.drivers.libvirt.edge import Domain, Host
from haulback.drivers.libvirt.volumes import folders, located, opened
from haulback.errors import HaulbackError, NotFound

log = logging.getLogger(__name__)
_ATTEMPT = r"(?P<attempt>[A-Za-z0-9_-]{1,64})"
_ROOM = re.compile(rf".+\.haulback-{_ATTEMPT}")
WORKING = re.compile(rf"haulback-{_ATTEMPT}")
SOCKET = re.compile(rf"/haulback-{_ATTEMPT}/nbd")
_GONE = re.compile(rf"\.haulback-{_ATTEMPT}\.gone")
_BACK = re.compile(rf"\.haulback-{_ATTEMPT}\.back")


class Gone(msgspec.Struct, frozen=True, omit_defaults=True):
    """A note of the files that go with a machine, by their paths.

    `replaced` is the uuid of a machine that gets other disks, "" for a machine that goes as a
    whole.  The saved memory of a replaced machine goes too, once the digest of the machine's
    definition is no longer `was`.
    """

    paths: list[str]
    replaced: str = ""
    was: str = ""


class Leftovers:
    """Notes in the `storage` of a host, and whatever else bears the name of an attempt there.

    Who calls is alone on the storage.
    """

    def __init__(self, host: Host, storage: Path, work: Path, files: Files) -> None:
        self._host, self._storage, self._work, self._files = host, storage, work, files

    def note_gone(self, attempt: str, domain: Domain, *, moves: bool = False) -> Path:
        """Write down which files go with a machine, so that whoever comes next can finish it.

        One that `moves` may have its firmware's variables at the same place there.
        """
        text = domain.definition()
        paths = _own(located(self._host, text)) + ([] if moves else _variables(text))
        return self._note(attempt, Gone(list(map(str, paths))))

    def note_replaced(self, attempt: str, domain: Domain, devices: Set[str] | None) -> Path:
        """Write down the files, and the saved memory, that go when a machine gets other disks.

        `devices` names the disks that are exchanged, None all of them.
        """
        text = domain.definition()
        volumes = [v for v in located(self._host, text) if devices is None or v.device in devices]
        paths = _own(volumes) + _variables(text)
        return self._note(attempt, Gone(list(map(str, paths)), domain.uuid, _digest(text)))

    def _note(self, attempt: str, gone: Gone) -> Path:
        note = self._storage / f".haulback-{attempt}.gone"
        self._files.write_file(note, msgspec.json.encode(gone))
        return note

    def carry_out(self, note: Path) -> None:
        """Delete the images of a note that no machine uses any more."""
        found = msgspec.json.decode(note.read_bytes(), type=Gone | list[str])
        gone = found if isinstance(found, Gone) else Gone(found)  # of an earlier version
        self._drop_memory(gone)
        used = self.used()
        for path in map(Path, gone.paths):
            if path not in used and not _is_no_file(path):
                path.unlink(missing_ok=True)
                with suppress(OSError):  # gone already, or something else lies there
                    if _ROOM.fullmatch(path.parent.name):
                        path.parent.rmdir()
        note.unlink()

    def _drop_memory(self, gone: Gone) -> None:
        """The saved memory of a replaced machine belongs to its old disks, and goes with them.

        While the definition is the old one, the machine has its old disks still.
        """
        if not gone.replaced:
            return
        with suppress(NotFound):
            domain = self._host.domain(gone.replaced)
            if _digest(domain.definition()) != gone.was:
                domain.drop_memory()

    def note_back(self, attempt: str, reverting: Reverting) -> Path:
        """Write down that disks are put back, so that whoever comes next can undo it."""
        note = self.back_note(attempt)
        self._files.write_file(note, msgspec.json.encode(reverting))
        return note

    def back_note(self, attempt: str) -> Path:
        """Where that is written down."""
        return self._storage / f".haulback-{attempt}.back"

    def undo(self, note: Path) -> None:
        """Put disks back to what they were; a machine that somebody has started since is let be.

        A machine in managed save was started since too: its memory belongs to the disks of now.
        """
        wanted = msgspec.json.decode(note.read_bytes(), type=Reverting)
        try:
            domain = self._host.domain(wanted.uuid)
        except NotFound:
            note.unlink()
            return
        if not domain.is_active and not domain.in_managed_save():
            with opened(located(self._host, domain.definition())) as images:
                taken.undo(taken.able(images), wanted.before)
            if wanted.ran:
                domain.start(paused=wanted.paused)
        note.unlink()

    def _undone(self, note: Path) -> bool:
        """One that cannot be undone now must not keep the rest from being swept."""
        try:
            self.undo(note)
        except HaulbackError as error:
            log.warning("%s stays: %s", note, error.message)
            return False
        return True

    def used(self) -> set[Path]:
        """All images that any machine refers to.  Raises what keeps it from being known."""
        found: set[Path] = set()
        for domain in self._host.domains():
            with suppress(NotFound):  # it went away since it was listed
                for text in (domain.definition(), domain.live()):
                    found |= {*self._files_of(text), *xml.places(xml.parse(text))}
        return found

    def _files_of(self, text: str) -> list[Path]:
        """All that a machine needs of the host's files."""
        images = [volume.path for volume in located(self._host, text) if volume.path]
        return images + _variables(text)

    def sweep(self, alive: Set[str]) -> list[str]:
        """Remove or undo all that is left of attempts not in `alive`; the names."""
        ended = self._copies(alive) + self._jobs(alive)
        rooms = [self._work / one for one in _dead(self._work, WORKING, alive)]
        notes = [self._storage / one for one in _dead(self._storage, _BACK, alive)]
        back = [note for note in notes if self._undone(note)]
        for name in _dead(self._storage, _GONE, alive):
            self.carry_out(self._storage / name)
        swept = rooms + self._halves(alive)
        for path in swept:
            shutil.rmtree(path, ignore_errors=True)
        return sorted({*ended, *(path.name for path in [*swept, *back])})

    def _halves(self, alive: Set[str]) -> list[Path]:
        """Rooms of machines that never came to be.

        A finished one is its machine's: who undefines a machine may want to keep its images.
        """
        places = {self._storage, *folders(self._host).values()}
        rooms = [place / one for place in places for one in _dead(place, _ROOM, alive)]
        marked = [room for room in rooms if self._is_half(room)]
        used = {path.parent for path in self.used()} if marked else set[Path]()
        for room in marked:
            if room in used:  # its maker died right after the one step
                (room / making.UNFINISHED).unlink()
        return [room for room in marked if room not in used]

    def _is_half(self, room: Path) -> bool:
        """Whether it is one of ours that never came to be: a pool may be others' too."""
        try:
            mark = (room / making.UNFINISHED).read_text()
        except OSError:
            return False
        return mark == making.mark_of(self._work) or (not mark and room.parent == self._storage)

    def _copies(self, alive: Set[str]) -> list[str]:
        """Machines that were booted for a look, whose looker died."""
        swept = []
        for domain in self._host.domains():
            with suppress(NotFound):
                found = WORKING.fullmatch(domain.name)
                ours = found and f"{self._work}/{domain.name}/" in domain.live()
                if found and ours and found["attempt"] not in alive:
                    domain.stop()
                    swept.append(domain.name)
        return swept

    def _jobs(self, alive: Set[str]) -> list[str]:
        """Backup jobs whose reader died; those of another installation are none of ours."""
        swept = []
        for domain in self._host.domains():
            with suppress(NotFound):
                text = domain.backup() or "" if domain.is_active else ""
                found = SOCKET.search(text)
                if found and f"{self._work}{found[0]}" in text and found["attempt"] not in alive:
                    domain.end_backup()
                    swept.append(f"haulback-{found['attempt']}")
        return swept


def _own(volumes: Iterable[Volume]) -> list[Path]:
    """The images that are one machine's: a shared disk may be in use on another host."""
    return [volume.path for volume in volumes if volume.path and not volume.shared]


def _variables(text: str) -> list[Path]:
    path = firmware.path_of(xml.parse(text))
    return [path] if path else []


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _is_no_file(path: Path) -> bool:
    """Whether a device or a link to one lies there, which is never deleted."""
    try:
        return not stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False  # an image that is gone already


def _dead(folder: Path, pattern: re.Pattern[str], alive: Set[str]) -> list[str]:
    """Names in a folder that bear an attempt which is over."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    found = ((name, pattern.fullmatch(name)) for name in names)
    return [name for name, match in found if match and match["attempt"] not in alive]
