"""Component limits: the CPU time that the native libraries alone need for a step, on two busy
cores.

Each component runs in one thread on the data of the image, with the parameters of the product.
Bookkeeping, deduplication, start-up and syncs are left out, so that no real step can reach its
limit.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.images import PAGE, Images
from haulback.drivers.sink import RawFile
from haulback.drivers.source import RawImage
from haulback.repository.chunker import cut
from haulback.repository.group import GROUP_BYTES, Group, decode, encode
from haulback.repository.keys import Keys
from haulback.units import MIB

_CORES = 2
_SAMPLE = 256 * MIB  # bytes of the image that are measured; the rest is extrapolated
_NAME = bytes(12)


def limits(images: Images, folder: Path) -> dict[str, float]:
    """Seconds of each step's components: full, increment, restore, verify; and the least growth in
    bytes.
    """
    source = RawImage(images.before)
    total = sum(extent.length for extent in source.extents())
    spent, sampled = Counter[str](), 0
    keys, target = Keys.generate(), RawFile(folder / "limit.raw", source.size)
    with open(folder / "limit.pack", "wb", buffering=0) as packs:
        for at, length in _segments(source):
            _segment(source, target, packs.fileno(), (at, length), keys, spent)
            sampled += length
    source.close()
    target.close(sync=False)
    for name in ("limit.raw", "limit.pack"):
        (folder / name).unlink()
    changed = sum(extent.length for extent in images.changes)
    full = sum(spent[name] for name in ("read", "cut", "hash", "encode", "store"))
    verify = spent["load"] + spent["decode"] + spent["hash"]
    share = total / sampled / _CORES
    return {
        "full": full * share,
        "increment": full * share * changed / total,
        "restore": (verify + spent["write"]) * share,
        "verify": verify * share,
        "growth": growth(images),
    }


def growth(images: Images) -> float:
    """The bytes of the pages of 4 KiB that changed, compressed: no increment can add fewer, unless
    the disk holds the same data elsewhere.
    """
    packed, pages = 0, bytearray()
    with open(images.before, "rb") as before, open(images.after, "rb") as after:
        for offset, length in images.changes:
            for at in range(offset, offset + length, PAGE):
                old, new = (os.pread(file.fileno(), PAGE, at) for file in (before, after))
                pages += new if new != old else b""
            if len(pages) >= GROUP_BYTES:
                packed, pages = packed + _compressed(pages), bytearray()
    return float(packed + _compressed(pages))


def _compressed(data: bytearray) -> int:
    return len(encode(Group(_NAME, memoryview(data)), Keys.generate()))


def _segments(source: RawImage) -> Iterator[tuple[int, int]]:
    """(offset, length) of pieces of data, until enough is measured."""
    count = 0
    for extent in source.extents():
        for at in range(extent.offset, extent.offset + extent.length, MIB):
            if count >= _SAMPLE:
                return
            length = min(MIB, extent.offset + extent.length - at)
            count += length
            yield at, length


def _segment(
    source: RawImage,
    target: RawFile,
    pack: int,
    place: tuple[int, int],
    keys: Keys,
    spent: Counter[str],
) -> None:
    at, length = place
    data = memoryview(bytearray(length))
    with _timed(spent, "read"):
        source.read_into(at, data)
    with _timed(spent, "cut"):
        pieces = cut(data)
    with _timed(spent, "hash"):
        ids = [keys.chunk_id(piece) for piece in pieces]
    places, begin = {}, 0
    for chunk, piece in zip(ids, pieces, strict=True):
        places[chunk], begin = (begin, len(piece)), begin + len(piece)
    with _timed(spent, "encode"):
        record = encode(Group(_NAME, data, places), keys)
    offset = os.lseek(pack, 0, os.SEEK_CUR)
    with _timed(spent, "store"):
        os.write(pack, record)
    with open(f"/proc/self/fd/{pack}", "rb", buffering=0) as again, _timed(spent, "load"):
        os.pread(again.fileno(), len(record), offset)
    if len(places) == len(pieces):  # equal chunks in a segment share one place
        with _timed(spent, "decode"):
            decode(record, _NAME, keys)
    with _timed(spent, "write"):
        target.write_at(at, data)


@contextmanager
def _timed(spent: Counter[str], name: str) -> Iterator[None]:
    begun = time.thread_time()
    yield
    spent[name] += time.thread_time() - begun  # type: ignore[assignment]
