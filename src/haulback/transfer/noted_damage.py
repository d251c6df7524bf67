"""The damage of one backup: all its data is read, and what cannot be read is noted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from haulback.errors import BaseGone, Damaged
from haulback.repository.group_runs import GroupRuns
from haulback.repository.manifest import Manifest
from haulback.repository.pages import HOLE, ChunkRef, unpack_inner, unpack_leaf
from haulback.repository.reader import Reader
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.transfer.copy_groups import by_group

_CHUNKS_AT_ONCE = 16_384  # about 1 GiB of a disk


def note_damage(repository: Repository, manifest: Manifest, resources: Resources) -> None:
    """Read all data of a backup; places that cannot be read are noted in the findings.

    Each group is authenticated, not decompressed.  The meter of `resources` gets the stored bytes.
    """
    index, reader = repository.index(), repository.reader()
    runs = GroupRuns(repository.destination, index, repository.keys, repository.findings)
    refs = (ref for disk in manifest.disks for ref in _below(reader, disk.map.root, disk.map.depth))
    while batch := list(islice(refs, _CHUNKS_AT_ONCE)):
        for sealed in runs.read(by_group(index, batch), resources.pool):
            resources.meter(len(sealed.record))


def _below(reader: Reader, ref: ChunkRef, depth: int) -> Iterator[ChunkRef]:
    """The chunks below a page; a page that cannot be read is noted by the reader."""
    if ref == HOLE:
        return
    with suppress(BaseGone, Damaged):
        page = reader.chunk(ref)
        if depth:
            for child in unpack_inner(page):
                yield from _below(reader, child, depth - 1)
        else:
            refs = (piece.ref for pieces in unpack_leaf(page) for piece in pieces)
            yield from {ref for ref in refs if ref != HOLE}
