"""The file format of a sealed copy of the server's database and key file.

A head of HEAD bytes names the parts of the content in JSON.  The content follows in pieces of PIECE
bytes.  Each piece is compressed by itself, sealed, bound to its number, and preceded by its length
in four bytes.  The last piece seals a hash of the head and of all pieces before it, so that a copy
that is truncated, or combined from two copies, does not open.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from haulback.errors import Conflict, Damaged, WrongKey
from haulback.server.key_vault import CopyCipher

# Pieces are as small as the repository's chunks, so that a change of a database page renews only
# one.
HEAD, PIECE = 64 * 1024, 64 * 1024
_MAGIC = b"haulback sealed copy\n"
_VERSION = 1
_LENGTH = 4  # bytes of the length before a piece
_PLAIN, _SHORT = b"p", b"s"
_AT_ONCE = 16  # pieces in one block of the stream


class CopyPart(msgspec.Struct):
    """A file in the copy, with its size in bytes."""

    name: str
    size: int


class CopyHead(msgspec.Struct, kw_only=True):
    """The readable head of a copy; none of its members is secret.

    `made` (epoch ms) is the moment of the copy, `haulback` the version that made it, `schema` the
    revision of its database, `database` SQLITE or POSTGRESQL.  `slot` (base64) is the secret of the
    repository's key file, sealed by the repository's master key, which recovery kits hold.
    """

    version: int = _VERSION
    haulback: str
    schema: str
    database: str
    made: int
    destination: str
    repository: str
    slot: str
    parts: list[CopyPart]

    @property
    def content(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)


def is_copy(path: Path) -> bool:
    """Whether a file begins like a sealed copy."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def sealed(head: CopyHead, files: Sequence[IO[bytes]], cipher: CopyCipher) -> Iterator[bytes]:
    """The bytes of a sealed copy; `files` hold the parts of the head, in its order.

    Raises Conflict when a file is shorter than its part.
    """
    first = _encoded(head)
    proof = hashlib.sha256(first)
    yield first
    source, number, block = _joined(head, files), 0, bytearray()
    for content in _pieces(source):
        piece = cipher.seal(_place(number), _packed(content))
        proof.update(piece[: CopyCipher.SEAL])
        block += len(piece).to_bytes(_LENGTH) + piece
        number += 1
        if number % _AT_ONCE == 0:
            yield bytes(block)
            block.clear()
    yield bytes(block + cipher.seal(_end(number), proof.digest()))


def read_head(file: IO[bytes]) -> tuple[CopyHead, bytes]:
    """The head of a copy, not yet authenticated, and its bytes.

    Raises Damaged for a file that is no copy, Conflict for a copy of a newer Haulback.
    """
    first = file.read(HEAD)
    if len(first) < HEAD or not first.startswith(_MAGIC):
        raise Damaged(
            "the file is not a sealed copy of a Haulback database, or its header is damaged"
        )
    try:
        text = first[len(_MAGIC) :].rstrip(b"\0")
        version = msgspec.json.decode(text, type=dict[str, object]).get("version")
        if isinstance(version, int) and version > _VERSION:
            raise Conflict(
                f"the copy has format {version}, and this Haulback reads formats up to {_VERSION}: "
                "install the Haulback that made the copy, or a newer one"
            )
        return msgspec.json.decode(text, type=CopyHead), first
    except msgspec.MsgspecError as error:
        raise Damaged(f"the head of the sealed copy is damaged: {error}") from None


def opened(file: IO[bytes], head: CopyHead, first: bytes, cipher: CopyCipher) -> Iterator[bytes]:
    """The content of a copy whose head was read, yielded piece by piece.

    The content is authentic only if the iterator ended without an error.  Raises WrongKey when the
    key does not open the first piece; Damaged for a changed, truncated or extended copy.
    """
    proof, number, left = hashlib.sha256(first), 0, head.content
    while left > 0:
        size = min(PIECE, left)
        piece = _read_piece(file, number)
        content = _unpacked(_unsealed(cipher, _place(number), piece, number), size)
        proof.update(piece[: CopyCipher.SEAL])
        left -= size
        number += 1
        yield content
    last = _read(file, proof.digest_size + CopyCipher.SEAL)
    if _unsealed(cipher, _end(number), last, number) != proof.digest():
        raise Damaged("the sealed copy was changed, or mixed from several copies; use another copy")
    if file.read(1):
        raise Damaged("the sealed copy has bytes after its end")


def _unsealed(cipher: CopyCipher, place: bytes, piece: bytes, number: int) -> bytes:
    try:
        return cipher.unseal(place, piece)
    except WrongKey:
        if number == 0:
            raise WrongKey(
                "the key does not open the copy, or the copy is damaged from its beginning: "
                "check that the kit or key file belongs to this repository"
            ) from None
        raise _damaged(number) from None


def _damaged(number: int) -> Damaged:
    return Damaged(f"the sealed copy is damaged at byte {number * PIECE} of its content")


def _read_piece(file: IO[bytes], number: int) -> bytes:
    length = int.from_bytes(_read(file, _LENGTH))
    if not CopyCipher.SEAL < length <= CopyCipher.SEAL + 1 + PIECE:
        raise _damaged(number)
    return _read(file, length)


def _packed(content: bytes) -> bytes:
    """A piece before sealing: compressed, unless compression makes it longer."""
    short = zlib.compress(content, 1)
    return _SHORT + short if len(short) < len(content) else _PLAIN + content


def _unpacked(packed: bytes, size: int) -> bytes:
    """The piece of `size` bytes.  Raises Damaged for any other length."""
    content = packed[1:]
    if packed[:1] == _SHORT:
        content = zlib.decompressobj().decompress(content, size)
    if len(content) != size:
        raise Damaged("the sealed copy holds a piece of another length")
    return content


def _read(file: IO[bytes], count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise Damaged("the sealed copy is truncated: its end is missing; copy the file again")
    return found


def _encoded(head: CopyHead) -> bytes:
    first = _MAGIC + msgspec.json.encode(head)
    if len(first) > HEAD:
        raise Conflict("the head of the copy is too long")
    return first.ljust(HEAD, b"\0")


def _joined(head: CopyHead, files: Sequence[IO[bytes]]) -> Iterator[bytes]:
    """The content of the files one after another, each in the length that the head names."""
    for part, file in zip(head.parts, files, strict=True):
        left = part.size
        while left:
            found = file.read(min(left, PIECE))
            if not found:
                raise Conflict(f"{part.name} became shorter while it was read")
            left -= len(found)
            yield found


def _pieces(source: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of PIECE bytes; only the last piece may be shorter."""
    held = bytearray()
    for block in source:
        held += block
        while len(held) >= PIECE:
            yield bytes(held[:PIECE])
            del held[:PIECE]
    if held:
        yield bytes(held)


def _place(number: int) -> bytes:
    return b"piece" + number.to_bytes(8)


def _end(number: int) -> bytes:
    return b"end" + number.to_bytes(8)
