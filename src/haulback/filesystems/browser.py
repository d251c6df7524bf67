"""Browser: entry point for reading the file systems of a machine's disks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, pairwise
from typing import Self, TypeVar

from haulback.drivers.source import Source
from haulback.errors import Malformed
from haulback.filesystems.archive import packed
from haulback.filesystems.file_plan import FilePlan, FilePlans
from haulback.filesystems.paths import checked, sound
from haulback.filesystems.records import (
    MOST_ATTRIBUTES,
    MOST_BYTES,
    MOST_ENTRIES,
    Content,
    DescribeFile,
    DirectoryEntries,
    Entries,
    FileEntry,
    FileFacts,
    FileMap,
    FilePiece,
    FindEntry,
    ListDirectory,
    ListVolumes,
    MapFile,
    ReadFile,
    Volume,
    VolumesFound,
    raw,
)
from haulback.filesystems.sandbox_client import COMMAND, SandboxClient
from haulback.filesystems.sparse import SparseMap, Window
from haulback.texts import printable
from haulback.units import KIB, MIB

_Part = TypeVar("_Part")
_CHUNK = 256 * KIB
_PART = MIB  # bytes of a stream that are read at once: few, so that their memory is soon used again
# Bytes of a stream of which two parts are read before its first piece leaves the node: damage there
# is the error of the request, whereas later damage can only interrupt its answer.
_EARLY = 5 * MIB
AT_ONCE = 2_000  # entries of a response, each at most 6.5 KiB: a message holds 16 MiB
_AHEAD = 1  # prefetched parts; more gain nothing, because decoding the store is the bottleneck


class Browser:
    """Reads files of disks without mounting them; threads may share a browser.

    `sources` are the disks by name; the browser does not close them. File systems are parsed in a
    sandbox, which is started at the first request; `deadline` is the timeout of a request
    in seconds. Paths are absolute within their volume. Links within a path are followed inside the
    volume, never out of it.

    Any method may raise Unreadable (the process died or timed out; the next request starts a new
    one), Unsupported (a volume or file that cannot be read), Malformed (a damaged file system or a
    bad path), and the errors of the sources.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        deadline: float = 60,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._sources = list(sources.values())
        self._confined = SandboxClient(sources, deadline, command)
        self._plans = FilePlans()  # plans of files that FUSE reads in parts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the sandbox; a second call is no error."""
        self._confined.close()

    def volumes(self) -> list[Volume]:
        """All volumes detected on the disks, readable or not."""
        return self._confined.query(ListVolumes(), VolumesFound).volumes

    def entry(self, volume: str, path: str) -> FileEntry:
        """Entry of a path; a link at its end is not followed. Raises NotFound."""
        return self._entries(FindEntry(volume, checked(path)), 1)[0]

    def listing(
        self, volume: str, path: str, *, after: str = "", most: int = 1000
    ) -> DirectoryEntries:
        """At most `most` (up to 10,000) entries of a directory, sorted by name in bytes.

        The page starts after the name `after`; fewer than `most` entries mean that it is the last
        page. Each page of a damaged directory carries a reason and the entries that are readable.
        Raises NotFound.
        """
        if not 0 < most <= MOST_ENTRIES:
            raise Malformed(f"most: must be between 1 and {MOST_ENTRIES}", field="most")
        place, result = checked(path), DirectoryEntries()
        while True:
            count = min(AT_ONCE, most - len(result))
            part = self._entries(ListDirectory(volume, place, raw(after), count), count)
            result += part
            result.reason = part.reason
            if len(part) < count or len(result) == most:
                return result
            after = part[-1].name

    def read(self, volume: str, path: str, offset: int, count: int) -> bytes:
        """Read `count` bytes of a file from `offset`; fewer at its end. Raises NotFound."""
        if offset < 0 or count < 0:
            raise Malformed("offset, count: must not be negative", field="offset")
        place = checked(path)
        plan = self._plans.of(volume, place, partial(self._content, volume, place))
        return self._whole(plan, offset, count)

    def stream(self, volume: str, path: str) -> Iterator[memoryview]:
        """Contents of a file in chunks of up to 256 KiB; the next MiB is prefetched.

        Raises NotFound before the first chunk.
        """
        plan = self._plan(volume, checked(path))
        plan.pieces(0, MOST_BYTES)
        return self._stream(plan, plan.size)

    def facts(self, volume: str, path: str) -> FileFacts:
        """Extended attributes and features of a path; a link at its end is not followed.

        Raises NotFound.
        """
        return self._confined.query(DescribeFile(volume, checked(path)), FileFacts, _are_facts)

    def stored(self, volume: str, path: str, size: int) -> SparseMap:
        """The ranges of a file of `size` bytes that are stored; the rest reads as zeros.

        Raises NotFound.
        """
        place, at, result = checked(path), 0, SparseMap(size)
        while at < size:
            question = MapFile(volume, place, at)
            answer = self._confined.query(question, FileMap, partial(_is_map, question, size))
            for offset, length in answer.ranges:
                result.add(offset, length)
            at = answer.end
        return result

    def parts(self, volume: str, path: str, ranges: SparseMap) -> Iterator[bytes]:
        """Contents of the ranges of a file, in chunks of up to 4 MiB; the next is prefetched."""
        plan = self._plan(volume, checked(path))
        calls = (partial(self._inside, plan, window) for window in ranges.windows(MOST_BYTES))
        return (part for parts in _ahead(calls) for part in parts)

    def _inside(self, plan: FilePlan, window: Window) -> list[bytes]:
        """Contents of the ranges in a window of a file."""
        whole = memoryview(self._whole(plan, window.low, window.high - window.low))
        if len(whole) < window.high - window.low:
            raise Malformed(f"the file ends at {window.low + len(whole)} bytes")
        starts = ((offset - window.low, length) for offset, length in window.ranges)
        return [bytes(whole[start : start + length]) for start, length in starts]

    def archive(
        self, volume: str, paths: Sequence[str], *, strict: bool = False
    ) -> Iterator[bytes]:
        """Tar of files and whole directories, each under its own path.

        Links stay links; devices, pipes and sockets are left out. Unreadable files are named in the
        last member (see `report`), or with `strict` raise Incomplete. Raises NotFound before the
        first chunk, Unavailable when a disk becomes unreachable.
        """
        return packed(self, volume, paths, strict=strict)

    def _plan(self, volume: str, place: bytes) -> FilePlan:
        return FilePlan(partial(self._content, volume, place))

    def _stream(self, plan: FilePlan, size: int) -> Iterator[memoryview]:
        if size <= _PART:
            yield from self._whole_chunks(plan, 0, size)
            return
        bounds = pairwise(chain((0, _PART), range(_EARLY, size, _PART), (size,)))
        calls = (partial(self._whole_chunks, plan, low, high - low) for low, high in bounds)
        yield from (part for parts in _ahead(calls) for part in parts)

    def _whole(self, plan: FilePlan, offset: int, count: int) -> bytes:
        """Bytes of a file; fewer only at its end."""
        return b"".join(self._whole_chunks(plan, offset, count))

    def _whole_chunks(self, plan: FilePlan, offset: int, count: int) -> list[memoryview]:
        """Bytes of a file in chunks of up to 256 KiB; fewer only at its end."""
        result: list[memoryview] = []
        while count:
            parts = self._chunks(plan.pieces(offset, min(count, MOST_BYTES)))
            if not parts:
                break
            result += parts
            done = sum(map(len, parts))
            offset, count = offset + done, count - done
        return result

    def _chunks(self, pieces: Sequence[FilePiece]) -> list[memoryview]:
        """The bytes of the pieces, in chunks of up to 256 KiB of one buffer."""
        buffer, at = memoryview(bytearray(sum(piece.length for piece in pieces))), 0
        for piece in pieces:
            self._fill(piece, buffer[at : at + piece.length])
            at += piece.length
        return [buffer[low : low + _CHUNK] for low in range(0, at, _CHUNK)]

    def _fill(self, piece: FilePiece, view: memoryview) -> None:
        """Fill a buffer with the bytes of a piece."""
        if piece.data:
            view[:] = piece.data
        elif piece.disk >= 0:
            self._sources[piece.disk].read_into(piece.offset, view)
        else:
            view[:] = bytes(len(view))

    def _content(self, volume: str, place: bytes, offset: int, count: int) -> Content:
        def sound(content: Content) -> bool:
            total = sum(piece.length for piece in content.pieces)
            due = max(0, min(count, content.size - offset))
            return min(due, 1) <= total <= due and all(map(self._possible, content.pieces))

        return self._confined.query(ReadFile(volume, place, offset, count), Content, sound)

    def _possible(self, piece: FilePiece) -> bool:
        """Whether a piece has data of its length, or lies within a disk."""
        if piece.data or piece.disk < 0:
            return len(piece.data) in (0, piece.length)
        if piece.disk >= len(self._sources):
            return False
        return piece.offset + piece.length <= self._sources[piece.disk].size

    def _entries(self, question: FindEntry | ListDirectory, most: int) -> DirectoryEntries:
        after = question.after if isinstance(question, ListDirectory) else b""

        def could_be(answer: Entries) -> bool:
            names = [entry.name for entry in answer.entries]
            if isinstance(question, FindEntry):
                return len(names) == 1
            if len(names) > most or not all(map(sound, names)):
                return False
            return all(item < two for item, two in pairwise([after, *names]))

        result = self._confined.query(question, Entries, could_be)
        return DirectoryEntries(
            (entry.entry() for entry in result.entries), printable(result.reason)
        )


def _ahead(calls: Iterable[Callable[[], _Part]]) -> Iterator[_Part]:
    """Results of calls in order; the next call runs while a result is used."""
    with ThreadPoolExecutor(_AHEAD, "read-ahead") as pool:
        coming = deque[Future[_Part]]()
        for call in calls:
            coming.append(pool.submit(call))
            if len(coming) > _AHEAD:
                yield coming.popleft().result()
        for item in coming:
            yield item.result()


def _are_facts(answer: FileFacts) -> bool:
    """Whether attributes are within their limit, under names that a tar can hold."""
    total = sum(len(name) + len(value) for name, value in answer.attributes)
    return total <= MOST_ATTRIBUTES and all(0 not in name for name, _ in answer.attributes)


def _is_map(question: MapFile, size: int, answer: FileMap) -> bool:
    """Whether ranges ascend within the file, and the answer ends beyond the requested offset."""
    at = question.offset
    for offset, length in answer.ranges:
        if offset < at or not length:
            return False
        at = offset + length
    return at <= answer.end <= size and answer.end > question.offset
