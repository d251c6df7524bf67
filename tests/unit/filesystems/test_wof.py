"""Files that Windows compressed are read; the vectors were compressed by wimlib.

Each vector is a resource of a WIM archive: the offsets of its chunks, and the chunks, as in the
stream of a file. `sample` generates the contents.
"""

from __future__ import annotations

import os
import random
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from haulback.errors import Unsupported
from haulback.filesystems.parsers import lzx, xpress
from haulback.filesystems.parsers.filesystem import DAMAGE
from haulback.filesystems.parsers.wof import STREAM, WofStream, format_of
from haulback.units import KIB, MIB
from tests import shares, volumes
from tests.volumes import browser, empty, run, tool

VECTORS = Path(__file__).parent / "vectors"
ALGORITHMS = {"XPRESS4K": 0, "LZX": 1, "XPRESS8K": 2, "XPRESS16K": 3}
FUZZED = settings(
    max_examples=shares.cases("files").count,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def sample() -> bytes:
    """About 70 KB: words, x86 calls, long runs, and random data that is stored uncompressed."""
    chance = random.Random(20)
    words = [chance.randbytes(chance.randrange(2, 12)) for _ in range(60)]
    calls = [chance.randrange(-40_000, 12_100_000) for _ in range(8)]
    result = bytearray()
    while len(result) < 66_000:
        for _ in range(chance.randrange(100)):
            result += chance.choice(words)
        result += b"\xe8" + struct.pack("<i", chance.choice(calls)) * chance.randrange(1, 3)
        result += bytes([chance.randrange(256)]) * chance.choice([1, 20, 300, 9000])
    return bytes(result) + chance.randbytes(4000)


def reparse(algorithm: int, *, provider: int = 2, version: int = 1) -> bytes:
    data = struct.pack("<IIII", version, provider, 1, algorithm)
    return struct.pack("<IHH", 0x80000017, len(data), 0) + data


def stream(raw: bytes, name: str, size: int) -> WofStream:
    form = format_of(reparse(ALGORITHMS[name]))
    return WofStream(form, size, lambda offset, count: raw[offset : offset + count])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_windows_compressed_comes_out(name):
    raw, due = (VECTORS / f"{name}.bin").read_bytes(), sample()
    found = stream(raw, name, len(due))
    size = found.format.chunk
    chunks = [found.chunk(number) for number in range(-(-len(due) // size))]
    assert b"".join(chunks) == due
    assert found.chunk(1) == due[size : 2 * size]


def test_a_block_of_lzx_that_is_stored_is_read():
    # 3 bits for the type, one for the default size, 12 bits left of the first word; then the three
    # distances, and the bytes
    size = 101
    first = 3 << 13 | size >> 4
    second = (size & 15) << 12
    body = bytes(range(size)) + b"\0"
    raw = struct.pack("<HH3I", first, second, 1, 1, 1) + body
    assert lzx.unpacked(raw, size) == bytes(range(size))
    with pytest.raises(ValueError, match="ends within"):
        lzx.unpacked(raw[:60], size)


@pytest.mark.parametrize(
    ("tag", "word"),
    [
        (reparse(0, provider=1), "WIM"),
        (reparse(0, provider=7), "provider 7"),
        (reparse(9), "compression 9"),
        (reparse(0, version=3), "provider"),
    ],
)
def test_another_way_of_keeping_is_refused_by_its_name(tag, word):
    with pytest.raises(Unsupported, match=word):
        format_of(tag)


@pytest.mark.parametrize("harm", ["offsets", "chunk", "end"])
def test_a_damaged_stream_is_refused_and_its_other_chunks_read(harm):
    raw, due = bytearray((VECTORS / "XPRESS4K.bin").read_bytes()), sample()
    if harm == "offsets":
        raw[4:8] = b"\xff" * 4
    elif harm == "chunk":
        raw[len(due) // 4096 * 4 + struct.unpack_from("<I", raw, 0)[0]] ^= 0xFF
    else:
        raw = raw[: len(raw) // 2]
    compressed, failed = stream(bytes(raw), "XPRESS4K", len(due)), []
    for number in range(-(-len(due) // 4096)):
        try:
            assert compressed.chunk(number) == due[number * 4096 : (number + 1) * 4096]
        except (*DAMAGE,) as error:
            failed.append((number, error))
    assert failed
    assert {number for number, _ in failed} <= ({1, 2} if harm != "end" else set(range(5, 99)))


@given(st.binary(max_size=600), st.sampled_from([1, 100, 4 * KIB, 32 * KIB]), st.integers(0, 600))
@example(b"", 1, 0)
@FUZZED
def test_any_compressed_data_is_data_or_refused(noise, size, at):
    for unpack, name in ((xpress.unpacked, "XPRESS4K"), (lzx.unpacked, "LZX")):
        whole = (VECTORS / f"{name}.bin").read_bytes()
        start = 4 * ((len(sample_once()) - 1) // (4096 if name == "XPRESS4K" else 32768))
        spoiled = bytearray(whole[start : start + 4096])
        spoiled[at : at + len(noise)] = noise
        for raw in (noise, bytes(spoiled)):
            with suppress(*DAMAGE):
                assert len(unpack(raw, size)) == size


def sample_once(kept: list[bytes] = []) -> bytes:  # noqa: B006 - made once
    if not kept:
        kept.append(sample())
    return kept[0]


@pytest.mark.slow  # an NTFS that is filled by ntfs-3g
def test_an_ntfs_delivers_compressed_files_beside_plain_ones(tmp_path):
    tool("mkntfs"), tool("ntfs-3g")
    image, due = empty(tmp_path / "image", 16 * MIB), sample()
    run("mkntfs", "-q", "-F", "-Q", image)
    with volumes.ntfs(image, tmp_path / "mount") as root:
        for name, algorithm in ALGORITHMS.items():
            (root / name).touch()
            os.truncate(root / name, len(due))
            packed = (VECTORS / f"{name}.bin").read_bytes()
            os.setxattr(root / name, "user." + STREAM.decode("utf-16-le"), packed)
            os.setxattr(root / name, "system.ntfs_reparse_data", reparse(algorithm))
        for name, tag in (("dedup", 0x80000013), ("cloud", 0x9000601A), ("other", 0x8000ABCD)):
            (root / name).write_bytes(b"x" * 1000)
            data = struct.pack("<IHH", tag, 8, 0) + bytes(8)
            os.setxattr(root / name, "system.ntfs_reparse_data", data)
    with browser(image) as reader:
        for name in ALGORITHMS:
            assert b"".join(reader.stream("vda", f"/{name}")) == due
            assert reader.read("vda", f"/{name}", 40_000, 5000) == due[40_000:45_000]
        for name, word in (("dedup", "deduplicated"), ("cloud", "cloud"), ("other", "0x8000abcd")):
            entry = reader.entry("vda", f"/{name}")
            assert not entry.readable
            assert word in entry.reason
