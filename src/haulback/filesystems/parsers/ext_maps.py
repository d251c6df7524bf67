"""Block maps of ext files: extent trees, and block pointers with up to three levels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from haulback.filesystems.parsers.blocks import Blocks
from haulback.filesystems.parsers.ext_checksums import ExtChecksums
from haulback.filesystems.parsers.filesystem import Run

_HEADER = struct.Struct("<HHHHI")
_LEAF, _BRANCH = struct.Struct("<IHHI"), struct.Struct("<IIHxx")
_MAGIC, _DEEPEST, _LONGEST = 0xF30A, 5, 32768
_END = 1 << 32


class _Range(NamedTuple):
    """The file blocks from `low` to before `high` of a volume with blocks of `size` bytes."""

    blocks: Blocks
    size: int
    low: int
    high: int


class ExtentTree(NamedTuple):
    """The extent tree of an inode, on a volume with blocks of `size` bytes."""

    blocks: Blocks
    size: int
    checks: ExtChecksums

    def runs(self, node: bytes, low: int, high: int) -> Iterator[Run]:
        """Runs that overlap the blocks from `low` to before `high`, ascending.

        `node` is the root of the tree in the inode, or a node below.
        """
        magic, count, _, depth, _ = _HEADER.unpack_from(node)
        if magic != _MAGIC or depth > _DEEPEST:
            raise ValueError("the extent tree has no header")
        entries = [node[at : at + 12] for at in range(12, 12 + 12 * count, 12)]
        if depth:
            yield from self._below(entries, depth, low, high)
            return
        for block, length, top, bottom in map(_LEAF.unpack, entries):
            # A length above 32768 marks an allocated but unwritten extent, which reads as zeros.
            written = length <= _LONGEST
            length = length if written else length - _LONGEST
            if block < high and block + length > low:
                start = (top << 32 | bottom) * self.size if written else None
                yield Run(block * self.size, length * self.size, start)

    def _below(self, entries: list[bytes], depth: int, low: int, high: int) -> Iterator[Run]:
        """Runs below the entries of a branch."""
        branches = [
            (block, top << 32 | bottom) for block, bottom, top in map(_BRANCH.unpack, entries)
        ]
        for (block, child), (following, _) in pairwise([*branches, (_END, 0)]):
            if block < high and following > low:
                node = self.blocks.read(child * self.size, self.size)
                if _HEADER.unpack_from(node)[3] != depth - 1:
                    raise ValueError("the extent tree has a wrong depth")
                if not self.checks.extents_match(node):
                    raise ValueError("the checksum of a block of the extent tree differs")
                yield from self.runs(node, max(low, block), min(high, following))


def pointers(blocks: Blocks, size: int, root: bytes, low: int, high: int) -> Iterator[Run]:
    """Runs that overlap the blocks from `low` to before `high`, by block pointers.

    `root` holds twelve direct pointers, and one each with one, two and three levels of indirection.
    """
    entries = struct.unpack("<15I", root)
    at, run = 0, Run(0, 0, None)
    wanted = _Range(blocks, size, low, high)
    for number, pointer in enumerate(entries):
        level = max(0, number - 11)
        covered = (size // 4) ** level
        if pointer and at < high and at + covered > low:
            for logical, block in _below(wanted, pointer, level, at):
                run, done = _grown(run, logical * size, block * size, size)
                if done:
                    yield done
        at += covered
    if run.length:
        yield run


def _below(wanted: _Range, pointer: int, level: int, at: int) -> Iterator[tuple[int, int]]:
    """File blocks of the range below a pointer, with their blocks on the volume."""
    if level == 0:
        yield at, pointer
        return
    blocks, size, low, high = wanted
    covered = (size // 4) ** (level - 1)
    table = struct.unpack(f"<{size // 4}I", blocks.read(pointer * size, size))
    first, last = max(0, (low - at) // covered), min(len(table), -(-(high - at) // covered))
    for number in range(first, last):
        if table[number]:
            start = at + number * covered
            yield from _below(wanted, table[number], level - 1, start)


def _grown(run: Run, at: int, offset: int, size: int) -> tuple[Run, Run | None]:
    """Extend a run by one block; if the block does not continue the run, also return that run."""
    if run.offset is not None and (run.at + run.length, run.offset + run.length) == (at, offset):
        return run._replace(length=run.length + size), None
    return Run(at, size, offset), run if run.length else None
