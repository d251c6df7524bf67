"""A group: up to 1 MiB of new chunks, compressed together and sealed as one unit.

Stored record: `group id (12) | nonce (12) | AES-256-GCM(directory | zstd frame)`, keyed by and
bound to the group's id: a copy to another pack or destination copies the ciphertext unchanged.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import zstandard
from cryptography.exceptions import InvalidTag

from haulback.errors import Damaged
from haulback.repository.keys import ID_BYTES, SEAL_BYTES, Keys
from haulback.units import KIB, MIB

GROUP_BYTES = MIB
PAGE_GROUP_BYTES = 128 * KIB  # small, because a random read decodes a whole group for one page
GROUP_ID_BYTES = 12
_ENTRY = struct.Struct(f"<{ID_BYTES}sI")
_COUNT = struct.Struct("<I")
RECORD_BYTES = GROUP_BYTES + 32 * KIB  # the record of a usual group that does not compress
_RAW_BYTES_MAX = 2 * GROUP_BYTES
# Parameters of zstd for 128 KiB inputs between levels 1 and 2, with a 1 MiB window: the table of 64
# KiB stays in the cache of a core (docs/decisions/0099-*.md has the measured choices).
_PARAMETERS = zstandard.ZstdCompressionParameters.from_level(
    2, source_size=128 * KIB, window_log=20, hash_log=14, min_match=6, write_content_size=True
)
_threads = threading.local()


@dataclass
class Group:
    """A decoded group in memory.  `places` gives offset and length of each chunk in `data`;
    `checked` are the chunks whose bytes match their ids.
    """

    id: bytes
    data: bytes | memoryview = b""
    places: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    checked: set[bytes] = field(default_factory=set, init=False, compare=False)

    def chunk(self, chunk: bytes) -> memoryview:
        """The bytes of one chunk.  Raises Damaged when the group does not hold it."""
        try:
            offset, length = self.places[chunk]
        except KeyError:
            raise Damaged(f"group {self.id.hex()} does not hold chunk {chunk.hex()}") from None
        return memoryview(self.data)[offset : offset + length]


class OpenGroup:
    """A group that takes chunks, up to the length of `buffer`; `size` bytes are taken."""

    def __init__(self, group: bytes, buffer: bytearray) -> None:
        self.id, self.buffer, self.size = group, buffer, 0
        self._view, self._places = memoryview(buffer), dict[bytes, tuple[int, int]]()

    def add(self, chunk: bytes, piece: bytes | memoryview) -> None:
        self._view[self.size : self.size + len(piece)] = piece
        self._places[chunk] = (self.size, len(piece))
        self.size += len(piece)

    def close(self) -> Group:
        """The group, whose data is a view of the buffer."""
        return Group(self.id, self._view[: self.size], self._places)


@dataclass
class FramedGroup(Group):
    """A decoded group with its compressed data, which another key may seal."""

    frame: bytes = b""


def encode(group: Group, keys: Keys, target: bytearray | None = None) -> memoryview:
    """The record to store, in `target` where the record fits."""
    return seal_frame(group, _compressor().compress(group.data), keys, target)


def seal_frame(
    group: Group, frame: bytes, keys: Keys, target: bytearray | None = None
) -> memoryview:
    """The record to store for a group whose data is already compressed, in `target` if it fits.

    A record in new memory would cost a page fault for every 4 KiB, once for its plain and once for
    its sealed bytes.
    """
    entries = [_ENTRY.pack(chunk, length) for chunk, (_, length) in group.places.items()]
    parts = (_COUNT.pack(len(entries)), *entries, frame)
    plain = _joined(parts)
    length = GROUP_ID_BYTES + len(plain) + SEAL_BYTES
    fits = target is not None and len(target) >= length
    record = memoryview(target if target is not None and fits else bytearray(length))[:length]
    record[:GROUP_ID_BYTES] = group.id
    keys.seal_into("group", group.id, plain, record[GROUP_ID_BYTES:])
    return record


def _joined(parts: Sequence[bytes]) -> memoryview:
    """The parts one after the other, in memory that the thread uses again."""
    length, at = sum(map(len, parts)), 0
    plain = _scratch(length)
    for part in parts:
        plain[at : at + len(part)] = part
        at += len(part)
    return plain


def _scratch(length: int) -> memoryview:
    """Memory of the calling thread, until its next call."""
    if len(getattr(_threads, "plain", b"")) < length:
        _threads.plain = bytearray(max(length, RECORD_BYTES))
    return memoryview(_threads.plain)[:length]


def decode(record: bytes, group_id: bytes, keys: Keys) -> Group:
    """Decrypt a group record.  Raises Damaged when the record belongs to another group than
    `group_id`.
    """
    return _parsed(_unsealed(record, group_id, keys), group_id)[0]


def decode_framed(record: bytes, group_id: bytes, keys: Keys) -> FramedGroup:
    """A decoded group and its compressed data.  Raises Damaged as `decode`."""
    plain = _unsealed(record, group_id, keys)
    group, end = _parsed(plain, group_id)
    return FramedGroup(group_id, group.data, group.places, bytes(plain[end:]))


def _parsed(plain: memoryview, group_id: bytes) -> tuple[Group, int]:
    """The group, and the end of its directory."""
    try:
        return _parse(plain, group_id)
    except (struct.error, zstandard.ZstdError) as error:
        raise Damaged(f"group {group_id.hex()} is damaged") from error


def authenticate(record: bytes, group_id: bytes, keys: Keys) -> Group:
    """The directory of a group record, as a group without data; no data is decompressed.

    Raises Damaged when the record belongs to another group than `group_id`.
    """
    plain = _unsealed(record, group_id, keys)
    try:
        places, _, _ = _directory(plain)
    except struct.error as error:
        raise Damaged(f"group {group_id.hex()} is damaged") from error
    return Group(group_id, b"", places)


def _unsealed(record: bytes | memoryview, group_id: bytes, keys: Keys) -> memoryview:
    """The plain bytes of a record, in memory that the thread uses again for the next group."""
    if record[:GROUP_ID_BYTES] != group_id:
        raise Damaged(f"another object is at the place of group {group_id.hex()}")
    try:
        sealed = memoryview(record)[GROUP_ID_BYTES:]
        return keys.unseal_into("group", group_id, sealed, _scratch(len(sealed)))
    except InvalidTag as error:
        raise Damaged(f"group {group_id.hex()} is damaged") from error


def _directory(plain: memoryview) -> tuple[dict[bytes, tuple[int, int]], int, int]:
    """The places of a group's chunks, its plain bytes, and the end of the directory."""
    (count,) = _COUNT.unpack_from(plain)
    end = _COUNT.size + count * _ENTRY.size
    places, offset = {}, 0
    for chunk, length in _ENTRY.iter_unpack(plain[_COUNT.size : end]):
        places[chunk] = (offset, length)
        offset += length
    return places, offset, end


def _parse(plain: memoryview, group_id: bytes) -> tuple[Group, int]:
    places, offset, end = _directory(plain)
    if offset > _RAW_BYTES_MAX:
        raise Damaged(f"group {group_id.hex()} claims {offset} bytes")
    data = _decompressor().decompress(plain[end:], max_output_size=_RAW_BYTES_MAX)
    if len(data) != offset:
        raise Damaged(f"group {group_id.hex()} has {len(data)} bytes instead of {offset}")
    return Group(group_id, data, places), end


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_threads, "compressor"):
        _threads.compressor = zstandard.ZstdCompressor(compression_params=_PARAMETERS)
    compressor: zstandard.ZstdCompressor = _threads.compressor
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_threads, "decompressor"):
        _threads.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _threads.decompressor
    return decompressor
