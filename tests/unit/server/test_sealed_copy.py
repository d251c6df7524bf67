"""The file format of a sealed copy."""

from __future__ import annotations

import io
import os

import pytest

from haulback.errors import Conflict, Damaged, HaulbackError, WrongKey
from haulback.server.key_vault import CopyCipher
from haulback.server.sealed_copy import HEAD, PIECE, CopyHead, CopyPart, opened, read_head, sealed

CIPHER = CopyCipher(b"k" * 32, "repository")
DATABASE = os.urandom(3 * PIECE + 100)
STORED = 4 + CopyCipher.SEAL + 1 + PIECE  # bytes of a piece of random data


def copy_of(database: bytes = DATABASE, made: int = 1, cipher: CopyCipher = CIPHER) -> bytes:
    head = CopyHead(
        haulback="1.0",
        schema="0018",
        database="SQLITE",
        made=made,
        destination="bd",
        repository="repository",
        slot="c2xvdA==",
        parts=[CopyPart("haulback.db", len(database)), CopyPart("server.key", 32)],
    )
    return b"".join(sealed(head, [io.BytesIO(database), io.BytesIO(b"s" * 32)], cipher))


def content(data: bytes, cipher: CopyCipher = CIPHER) -> bytes:
    file = io.BytesIO(data)
    head, first = read_head(file)
    return b"".join(opened(file, head, first, cipher))


@pytest.mark.parametrize("size", [0, 1, PIECE - 32, PIECE, 5 * PIECE - 31])
def test_a_copy_opens_to_its_parts(size: int):
    database = os.urandom(size)
    assert content(copy_of(database)) == database + b"s" * 32


def test_equal_parts_of_two_copies_have_equal_bytes():
    changed = bytearray(DATABASE)
    changed[2 * PIECE] ^= 1
    one, two = copy_of(made=1), copy_of(bytes(changed), made=2)
    places = range(HEAD, len(one), STORED)
    equal = [one[at : at + STORED] == two[at : at + STORED] for at in places]
    assert equal[:3] == [True, True, False]


def test_a_copy_is_compressed():
    assert len(copy_of(b"row of a table " * 100_000)) < HEAD + 100_000


def test_a_wrong_key_is_told_apart_from_damage():
    with pytest.raises(WrongKey, match="check that the kit or key file belongs"):
        content(copy_of(), CopyCipher(b"x" * 32, "repository"))
    with pytest.raises(WrongKey):
        content(copy_of(), CopyCipher(b"k" * 32, "another repository"))


@pytest.mark.parametrize("share", [0.1, 0.4, 0.9999])
def test_a_truncated_copy_is_refused(share: float):
    data = copy_of()
    with pytest.raises(Damaged, match=r"truncated|not a sealed copy"):
        content(data[: int(len(data) * share)])


def test_a_copy_cut_at_the_end_of_a_piece_is_refused():
    with pytest.raises(Damaged, match="truncated"):
        content(copy_of()[: HEAD + 2 * STORED])


def test_every_damaged_byte_is_found():
    data = copy_of()
    for at in (*range(0, HEAD, 4001), *range(HEAD, len(data), 9973), len(data) - 1):
        broken = bytearray(data)
        broken[at] ^= 1
        with pytest.raises(HaulbackError):
            content(bytes(broken))


def test_pieces_of_two_copies_cannot_be_mixed():
    one, two = copy_of(made=1), copy_of(DATABASE[::-1], made=2)
    middle = HEAD + STORED
    with pytest.raises(Damaged, match="several copies"):
        content(one[:middle] + two[middle : 2 * middle - HEAD] + one[2 * middle - HEAD :])
    with pytest.raises(Damaged, match="bytes after its end"):
        content(one + b"x")


def test_a_copy_of_a_newer_format_names_the_remedy():
    data = copy_of().replace(b'"version":1', b'"version":7', 1)
    with pytest.raises(Conflict, match="install the Haulback that made the copy"):
        read_head(io.BytesIO(data))
