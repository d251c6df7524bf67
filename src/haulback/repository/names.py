"""The names of a repository's objects.  Any other file in its folders is foreign.

Foreign files (`.nfs…`, `.DS_Store`, `x.tmp`, `lost+found`) are ignored and reported once, because a
file that Haulback did not write must not stop a repository.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence

from haulback.destinations.protocol import IDENTITY, Item, ObjectStore, list_many
from haulback.errors import Damaged, NotFound

_GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NUMBER = r"(?:[0-9]{8}|[1-9][0-9]{8,11})"
REVISION = re.compile(r"needs-haulback-revision-([0-9]{1,6})")
_LEAVES = {
    "packs": re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{30}"),
    "index": re.compile(r"[0-9a-f]{40}"),
    "manifests": re.compile(_GUID),
    "tombstones": re.compile(_GUID),
    "graves": re.compile(rf"[0-9a-f]{{32}}|{REVISION.pattern}"),
    "damage": re.compile(_NUMBER),
    "rolls": re.compile(_NUMBER),
    "rolls-copy": re.compile(_NUMBER),
    "extracts": re.compile(_NUMBER),
    "owners": re.compile(_NUMBER),
    "slots": re.compile(_NUMBER),
}
FOLDERS = tuple(_LEAVES)
# Objects that refer to other objects, which were stored before them.
_AWAITED = ("manifests", "index")
_PACKS_OF = re.compile(r"[0-9a-f]{2}")  # the subfolders of `packs`
_TOP_FILES = {"haulback.json", "haulback.copy.json"}
# A probe leaves a locked object; a clean-up removes the object after its lock has ended.
_TOP_FOLDERS = {*FOLDERS, "aside", ".tmp", ".probe"}
_Items = list[Item]
log = logging.getLogger(__name__)


def leaf_of(name: str) -> str:
    """The last part of an object's name."""
    return name.rpartition("/")[2]


def is_object(name: str) -> bool:
    """Whether a name below one of the repository's folders follows the format."""
    folder, _, leaf = name.partition("/")
    pattern = _LEAVES.get(folder)
    return bool(pattern and pattern.fullmatch(leaf))


def number_name(folder: str, number: int) -> str:
    """The name of a numbered object, as in `damage/00000001`."""
    return f"{folder}/{number:08d}"


def exists(destination: ObjectStore, name: str) -> bool:
    """Whether an object of that name exists, readable or not."""
    try:
        destination.info(name)
    except NotFound:
        return False
    except Damaged:
        return True
    return True


def _foreign_file_of(name: str) -> str:
    """The foreign file with a name, or the foreign folder that holds it."""
    parts = name.split("/")
    most = 3 if parts[0] == "packs" and _PACKS_OF.fullmatch(parts[1]) else 2
    return name if len(parts) <= most else "/".join(parts[:most]) + "/"


class Objects:
    """The listings of a destination without foreign files.

    `strangers` are the names of the foreign files found so far, in printable form; folders end in a
    slash. Manifests and index files that were stored after `horizon` (epoch ms by the store's
    clock, None for no limit) are left out, except the files `own` of this process; `young` are the
    names left out so far.
    """

    def __init__(self, destination: ObjectStore) -> None:
        self.destination = destination
        self.strangers: set[str] = set()
        self.horizon: int | None = None
        self.own: set[str] = set()
        self.young: set[str] = set()

    def packs(self) -> dict[bytes, int]:
        """The size in bytes of each pack by its id."""
        return {bytes.fromhex(leaf_of(item.name)): item.size for item in self.list("packs")}

    def leaves(self, folder: str) -> set[str]:
        """The last parts of all names in a folder."""
        return {leaf_of(item.name) for item in self.list(folder)}

    def numbers(self, folder: str) -> list[int]:
        """The numbers in a folder of numbered objects, ascending."""
        return sorted(int(leaf) for leaf in self.leaves(folder))

    def list(self, folder: str) -> Iterator[Item]:
        """Objects of a folder of the repository, in no particular order."""
        return self._known(self.destination.list(folder))

    def list_many(self, folders: Sequence[str]) -> Mapping[str, _Items]:
        """Objects of several folders by folder, listed in this order or all at once."""
        result: dict[str, _Items] = {folder: [] for folder in folders}
        for item in self._known(list_many(self.destination, folders)):
            result[item.name.partition("/")[0]].append(item)
        return result

    def _known(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            if is_object(item.name):
                if self.is_settled(item):
                    yield item
                else:
                    self.young.add(item.name)
            elif item.name != IDENTITY:
                self._report(_foreign_file_of(item.name))

    def is_settled(self, item: Item) -> bool:
        """Whether every listing shows an object, and all objects that were stored before it."""
        if self.horizon is None or item.name in self.own:
            return True
        is_early = item.stored is not None and item.stored <= self.horizon
        return is_early or item.name.partition("/")[0] not in _AWAITED

    def survey(self) -> None:
        """Find every foreign file in the root and in the folders of the repository.

        A foreign folder is reported as a whole and not entered.
        """
        for name, is_file in self.destination.entries(""):
            if name not in (_TOP_FILES if is_file else _TOP_FOLDERS):
                self._report(name if is_file else f"{name}/")
            elif name in FOLDERS:
                self._survey(name)

    def _survey(self, folder: str) -> None:
        for name, is_file in self.destination.entries(folder):
            path = f"{folder}/{name}"
            if not is_file and folder == "packs" and _PACKS_OF.fullmatch(name):
                self._survey(path)
            elif not is_file:
                self._report(f"{path}/")
            elif not is_object(path):
                self._report(path)

    def _report(self, name: str) -> None:
        shown = name.encode("utf-8", "backslashreplace").decode()
        if shown not in self.strangers:
            self.strangers.add(shown)
            log.warning("%r is a foreign file in the repository and is ignored", shown)
