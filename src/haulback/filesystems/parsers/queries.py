"""Responses to the parent's requests: path lookup, links, sorted listings, file contents."""

from __future__ import annotations

import stat
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from haulback.errors import HaulbackError, Malformed, NotFound, Unsupported
from haulback.filesystems.parsers.blocks import ParentDisk
from haulback.filesystems.parsers.fat_names import CodePage
from haulback.filesystems.parsers.filesystem import DAMAGE, FileStatus, FileSystem, error_text
from haulback.filesystems.parsers.names import distinct, is_dots, possible
from haulback.filesystems.parsers.probes import opened
from haulback.filesystems.parsers.volumes import VolumeBlocks, find
from haulback.filesystems.paths import parts
from haulback.filesystems.records import (
    MOST_BYTES,
    MOST_ENTRIES,
    MOST_PATH,
    MOST_PIECES,
    MOST_RANGES,
    MOST_WINDOW,
    Answer,
    Content,
    DescribeFile,
    Entries,
    EntryType,
    FileFacts,
    FileMap,
    FilePiece,
    FindEntry,
    ListDirectory,
    ListVolumes,
    MapFile,
    Query,
    RawEntry,
    ReadFile,
    VolumesFound,
    text,
)
from haulback.texts import printable

_MOST_LINKS = 40  # links followed in one lookup, the limit of Linux
_MOST_NAMES = 2_000_000  # entries of a directory
_MOST_SIZE = (1 << 63) - 1
_MOST_RUNS = 200_000  # runs that are read for one answer
_SPECIAL = (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)


class QueryHandler:
    """The answers to requests; volumes and recently requested directories are cached."""

    def __init__(self, disks: Mapping[str, ParentDisk], page: CodePage | None = None) -> None:
        self._disks, self._page = disks, page or CodePage("cp850")
        self._lying: dict[str, VolumeBlocks] | None = None
        self._trees: dict[str, Tree] = {}

    def to(self, question: Query) -> Answer:
        """Response to a request."""
        match question:
            case ListVolumes():
                return VolumesFound([volume.volume for volume in self._volumes().values()])
            case FindEntry(volume, path):
                return self._tree(volume).look(path)
            case ListDirectory(volume, path, after, most):
                return self._tree(volume).listing(path, after, min(most, MOST_ENTRIES))
            case ReadFile(volume, path, offset, count):
                return self._tree(volume).read(path, offset, min(count, MOST_WINDOW))
            case DescribeFile(volume, path):
                return self._tree(volume).described(path)
            case MapFile(volume, path, offset):
                return self._tree(volume).mapped(path, offset)
        raise Malformed("the request is malformed")

    def _volumes(self) -> dict[str, VolumeBlocks]:
        if self._lying is None:
            self._lying = find(self._disks, self._page)
        return self._lying

    def _tree(self, name: str) -> Tree:
        if name not in self._trees:
            if (lying := self._volumes().get(name)) is None:
                raise NotFound(f"there is no volume {name}", volume=name)
            if not lying.volume.readable:
                raise Unsupported(f"{name} ({lying.volume.type}): {lying.volume.reason}")
            self._trees[name] = Tree(opened(lying.volume.type, lying.blocks, self._page))
        return self._trees[name]


class Directory(NamedTuple):
    """Nodes by name, sorted names, and the reason if entries may be missing."""

    nodes: dict[bytes, int]
    order: list[bytes]
    reason: str


class Tree:
    """Directory tree of a file system."""

    def __init__(self, system: FileSystem) -> None:
        self._system = system
        self._directory = lru_cache(8)(self._load)
        self._place = lru_cache(64)(self._walked)

    def look(self, path: bytes) -> Entries:
        node = self._place(path, False)
        name = parts(path)[-1:] or [b"/"]
        return Entries([self._found(name[0], node, path.rpartition(b"/")[0])])

    def listing(self, path: bytes, after: bytes, most: int) -> Entries:
        node = self._place(path, True)
        if not self._status(node).is_directory:
            raise Malformed(f"path: {_shown(path)} is not a directory", field="path")
        directory = self._directory(node)
        low = bisect_right(directory.order, after) if after else 0
        page = directory.order[low : low + most]
        found = [self._found(name, directory.nodes[name], path) for name in page]
        return Entries(found, directory.reason)

    def read(self, path: bytes, offset: int, count: int) -> Content:
        node, status = self._file(path)
        count = max(0, min(count, status.size - offset))
        pieces = self._system.pieces(node, offset, count) if count else iter(())
        return Content(status.size, _bounded(pieces))

    def described(self, path: bytes) -> FileFacts:
        found = self._system.extras(self._place(path, False))
        return FileFacts(
            list(found.attributes.items()),
            found.access,
            found.default,
            tuple(printable(feature)[:200] for feature in found.features),
            found.reason[:300],
        )

    def mapped(self, path: bytes, offset: int) -> FileMap:
        node, status = self._file(path)
        stored = self._system.stored(node, offset, status.size) if offset < status.size else ()
        return joined_ranges(stored, offset, status.size)

    def _file(self, path: bytes) -> tuple[int, FileStatus]:
        """Node and status of a file whose contents can be read."""
        node = self._place(path, True)
        status = self._status(node)
        if status.reason:
            raise Unsupported(status.reason)
        if not status.is_file:
            raise Malformed(f"path: {_shown(path)} is not a file", field="path")
        return node, status

    def _status(self, node: int) -> FileStatus:
        """Status of a node; a node with an impossible size gets a reason and the size 0."""
        found = self._system.status(node)
        if 0 <= found.size <= _MOST_SIZE:
            return found
        reason = (
            f"the file system is damaged: the file has an impossible size of {found.size} bytes"
        )
        return found._replace(size=0, reason=reason)

    def _load(self, node: int) -> Directory:
        """Read a directory; damage is raised only if no entry could be read."""
        result: list[tuple[bytes, int]] = []
        reason = ""
        try:
            for name, child in self._system.names(node):
                if not is_dots(name):
                    result.append((possible(name), child))
                if len(result) > _MOST_NAMES:
                    raise Unsupported(f"more than {_MOST_NAMES} names in one directory")
        except (HaulbackError, *DAMAGE) as error:
            if not result:
                raise
            reason = error_text(error)[:300]
        nodes = distinct(result)
        return Directory(nodes, list(nodes), reason)

    def _walked(self, path: bytes, follow: bool) -> int:
        """Node of a path; links within the path are followed, a link at its end with `follow`."""
        left, walked, links = parts(path)[::-1], [self._system.root], 0
        while left:
            name = left.pop()
            if name == b"..":
                del walked[max(1, len(walked) - 1) :]
                continue
            if name == b".":
                continue
            node = self._child(walked[-1], name, path)
            if node in walked:
                raise Malformed(f"{_shown(path)} is a folder that contains itself")
            if not (left or follow) or not self._system.status(node).is_link:
                walked.append(node)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise NotFound(f"{_shown(path)} is a loop of links", path=text(path))
            target = self._system.target(node)
            if target.startswith(b"/"):
                del walked[1:]
            left += parts(target)[::-1]
        return walked[-1]

    def _child(self, node: int, name: bytes, path: bytes) -> int:
        if self._system.status(node).is_directory:
            directory = self._directory(node)
            child = directory.nodes.get(name)
            if child is not None:
                return child
            if directory.reason:
                raise Malformed(f"{_shown(path)} is not in the readable part of its folder: "
                    f"{directory.reason}")  # fmt: skip
        raise NotFound(f"there is no {_shown(path)}", path=text(path))

    def _found(self, name: bytes, node: int, folder: bytes) -> RawEntry:
        try:
            status = self._status(node)
        except (HaulbackError, *DAMAGE) as error:  # a damaged inode must not hide the other entries
            return RawEntry(name, EntryType.OTHER, 0, 0, 0, 0, 0, None, error_text(error)[:300])
        type_, target, reason = _type(status), None, status.reason
        if status.is_link:
            target, unread = self._target(node)
            reason = reason or unread
            if not self._leads(folder + b"/" + name):
                type_ = EntryType.BROKEN_SYMLINK
        elif type_ is EntryType.OTHER and stat.S_IFMT(status.mode) not in _SPECIAL:
            reason = reason or f"the file system is damaged: unknown file type {status.mode:#o}"
        return RawEntry(
            name,
            type_,
            status.size,
            status.modified,
            status.mode & 0o7777,
            status.uid,
            status.gid,
            target,
            reason[:300],
            node & _MOST_SIZE,
            min(status.links, (1 << 32) - 1),
            int(status.hints),
            status.fine,
            stat.S_IFMT(status.mode),
            status.device,
        )

    def _target(self, node: int) -> tuple[bytes | None, str]:
        """Target of a link, or the reason why the link cannot be read."""
        try:
            target = self._system.target(node)
        except (HaulbackError, *DAMAGE) as error:
            return None, error_text(error)
        if len(target) > MOST_PATH:
            return None, f"the target of the link is too long ({len(target)} bytes)"
        return target, ""

    def _leads(self, path: bytes) -> bool:
        try:
            self._walked(path, True)
        except (HaulbackError, *DAMAGE):
            return False
        return True


def _type(status: FileStatus) -> EntryType:
    if status.is_directory:
        return EntryType.DIRECTORY
    if status.is_file:
        return EntryType.REGULAR_FILE
    return EntryType.SYMLINK if status.is_link else EntryType.OTHER


def joined_ranges(stored: Iterable[tuple[int, int]], offset: int, size: int) -> FileMap:
    """As many ranges as fit into a response, from `offset` on; adjacent ranges are joined.

    Raises ValueError for ranges that do not ascend.
    """
    result: list[tuple[int, int]] = []
    last = offset  # end of the last range
    for seen, (at, length) in enumerate(stored, 1):
        if not length:
            return FileMap(result, min(size, max(last, at)))
        low, end = max(at, offset), min(at + length, size)
        if low >= end:
            continue
        if result and low < result[-1][0]:
            raise ValueError("the map of the file is not in order")
        if result and low <= last:
            result[-1] = result[-1][0], max(end, last) - result[-1][0]
        elif len(result) == MOST_RANGES or (result and seen > _MOST_RUNS):
            return FileMap(result, last)
        else:
            result.append((low, end - low))
        last = max(last, end)
    return FileMap(result, size)


def _bounded(pieces: Iterator[FilePiece]) -> list[FilePiece]:
    """As many pieces as fit into a response, up to the first damage; adjacent pieces are merged.

    Raises the damage of the first piece.
    """
    result: list[FilePiece] = []
    data = 0
    try:
        for piece in islice(pieces, MOST_PIECES):
            if result and _continues(result[-1], piece):
                result[-1] = _joined(result[-1], piece)
            else:
                result.append(piece)
            data += len(piece.data)
            if data >= MOST_BYTES:
                break
    except (HaulbackError, *DAMAGE):
        if not result:
            raise
    return result


def _joined(one: FilePiece, two: FilePiece) -> FilePiece:
    return FilePiece(one.length + two.length, one.disk, one.offset)


def _continues(one: FilePiece, two: FilePiece) -> bool:
    if one.data or two.data or one.disk != two.disk or one.length + two.length > MOST_BYTES:
        return False
    return one.disk < 0 or one.offset + one.length == two.offset


def _shown(path: bytes) -> str:
    return printable(text(path))[:200]
