"""Records, runs, indexes and compressed data of NTFS are read or refused, for any content."""

import random
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.filesystems.parsers.filesystem import DAMAGE, Run
from haulback.filesystems.parsers.lznt1 import CHUNK, unpacked
from haulback.filesystems.parsers.ntfs_index import entries
from haulback.filesystems.parsers.ntfs_records import DATA, Attribute, Runs, mended, parsed

CLUSTER = 4096


def part(pairs, first=0):
    return Attribute(DATA, b"", 0, None, first, 0, 0, 0, pairs)


def signed(number):
    size = 1
    while not -(1 << 8 * size - 1) <= number < 1 << 8 * size - 1:
        size += 1
    return number.to_bytes(size, "little", signed=True)


def encoded(runs):
    """The encoded pairs of (clusters, first cluster or None)."""
    made, last = b"", 0
    for length, place in runs:
        step = b"" if place is None else signed(place - last)
        last = last if place is None else place
        count = signed(length)
        made += bytes([len(count) | len(step) << 4]) + count + step
    return made + b"\0"


runs = st.lists(
    st.tuples(st.integers(1, 1 << 30), st.one_of(st.none(), st.integers(0, 1 << 40))),
    min_size=1,
    max_size=20,
)


@given(runs)
def test_runs_are_what_was_encoded(wanted):
    found = Runs([part(encoded(wanted))], CLUSTER)
    assert found.size == sum(length for length, _ in wanted) * CLUSTER
    ours = [(run.length // CLUSTER, run.offset if run.offset is None else run.offset // CLUSTER)
            for run in found.between(0, found.size)]  # fmt: skip
    assert ours == wanted


@given(runs, st.integers(0, 1 << 50), st.integers(1, 1 << 20))
def test_only_runs_that_are_touched_are_told(wanted, offset, count):
    found = Runs([part(encoded(wanted))], CLUSTER)
    offset %= found.size
    count = min(count, found.size - offset)
    touched = list(found.between(offset, count))
    assert touched[0].at <= offset < touched[0].at + touched[0].length
    assert touched[-1].at < offset + count <= touched[-1].at + touched[-1].length
    with pytest.raises(ValueError, match="ends at"):
        list(found.between(found.size, 1))


def test_a_hole_may_be_longer_than_any_volume():
    found = Runs([part(bytes.fromhex("0400000010 310110 0000 00"))], CLUSTER)
    hole, data = found.between(0, found.size)
    assert hole == Run(0, 0x10000000 * CLUSTER, None)
    assert data == Run(0x10000000 * CLUSTER, CLUSTER, 0x10 * CLUSTER)


def test_parts_of_a_list_of_runs_are_put_in_order_and_none_may_be_missing():
    one, two, three = (
        part(encoded([(4, 9)])),
        part(encoded([(2, None)]), 4),
        part(encoded([(1, 7)]), 6),
    )
    assert Runs([three, one, two], CLUSTER).size == 7 * CLUSTER
    for some in ([two, three], [one, three], [one, one, two]):
        with pytest.raises(ValueError, match="lacks clusters"):
            Runs(some, CLUSTER)


@pytest.mark.parametrize(
    "pairs",
    ["01", "0100", "01ff", "1101", "11ff05", "2101ffff", "f101" + "ff" * 15, "0f" + "7f" * 15],
)
def test_pairs_that_are_no_run_are_refused(pairs):
    with pytest.raises(ValueError, match="a run"):
        Runs([part(bytes.fromhex(pairs))], CLUSTER)


@given(st.binary(max_size=60))
def test_any_pairs_are_runs_or_refused(pairs):
    with suppress(*DAMAGE):
        found = Runs([part(pairs)], CLUSTER)
        assert sum(run.length for run in found.between(0, found.size)) == found.size


@given(st.binary(min_size=1024, max_size=1024), st.integers(0, 300))
def test_any_record_is_parsed_or_refused(noise, first):
    raw = bytearray(b"FILE" + struct.pack("<HH", 48, 3) + noise[8:])
    raw[20:22] = struct.pack("<H", first)
    raw[510:512] = raw[1022:1024] = raw[48:50]
    with suppress(*DAMAGE):
        parsed(bytes(raw))
    with suppress(*DAMAGE):
        parsed(noise)


def test_a_record_that_was_written_in_parts_is_refused():
    raw = bytearray(b"FILE" + struct.pack("<HH", 48, 3) + bytes(1016))
    raw[48:54] = b"\1\0AABB"
    raw[510:512] = raw[1022:1024] = b"\1\0"
    whole = mended(bytes(raw), b"FILE")
    assert (whole[510:512], whole[1022:1024]) == (b"AA", b"BB")
    raw[1022:1024] = b"\0\0"
    with pytest.raises(ValueError, match="in parts"):
        mended(bytes(raw), b"FILE")


def entry(name, reference=100, space=1, below=None, last=False):
    key = b"" if last else bytes(64) + bytes([len(name), space]) + name.encode("utf-16-le")
    flags = (below is not None) + 2 * last
    tail = b"" if below is None else struct.pack("<Q", below)
    room = 16 + len(key) + -len(key) % 8 + len(tail)
    head = struct.pack("<QHHHH", reference, room, len(key), flags, 0)
    return (head + key).ljust(room - len(tail), b"\0") + tail


def node(*found):
    body = b"".join(found)
    return struct.pack("<IIII", 16, 16 + len(body), 16 + len(body), 0) + body


def block(*data):
    body = node(*data)
    start = struct.unpack_from("<I", body)[0] + 32
    raw = b"INDX" + struct.pack("<HHQQ", 40, 9, 0, 0) + struct.pack("<I", start) + body[4:16]
    raw = raw.ljust(24 + start, b"\0") + body[16:]
    end = struct.pack("<I", start + len(body) - 16)
    raw = bytearray((raw[:28] + end + raw[32:]).ljust(4096, b"\0"))
    for sector in range(1, 9):
        raw[40 + 2 * sector : 42 + 2 * sector] = raw[sector * 512 - 2 : sector * 512]
        raw[sector * 512 - 2 : sector * 512] = b"\0\0"
    return bytes(raw)


def listed(root, blocks, used=None, step=1):
    """Names in an index, and the damage that was reported after them."""
    found, said = [], ""
    mark = sum(1 << number for number in range(len(blocks))) if used is None else used
    ask = entries(root, mark.to_bytes(8, "little"), len(blocks), step, lambda n: blocks[n])
    try:
        found.extend(name.decode() for name, _ in ask)
    except DAMAGE as error:
        said = str(error)
    return sorted(found), said


ROOT = node(entry("m", below=0), entry("", last=True, below=1))
LOW, HIGH = (
    block(entry("a"), entry("b"), entry("", last=True)),
    block(entry("z"), entry("", last=True)),
)


def test_an_index_is_read_by_its_tree_and_by_its_map():
    assert listed(ROOT, [LOW, HIGH]) == (["a", "b", "m", "z"], "")
    assert listed(ROOT, [LOW, HIGH], used=0) == (["a", "b", "m", "z"], "")
    alone = node(entry("m"), entry("", last=True))
    assert listed(alone, [LOW, HIGH]) == (["a", "b", "m", "z"], "")
    assert listed(alone, [LOW, HIGH], used=2) == (["m", "z"], "")


def test_short_names_beside_long_ones_and_files_of_the_file_system_are_left_out():
    root = node(entry("LONGNA~1", space=2), entry("long name"), entry("$MFT", reference=0),
                entry("both", space=3), entry("", last=True))  # fmt: skip
    assert listed(root, []) == (["both", "long name"], "")


def test_damage_of_a_block_hides_nothing_of_the_others():
    names, said = listed(ROOT, [b"BAAD" + LOW[4:], HIGH])
    assert (names, "BAAD" in said) == (["m", "z"], True)
    torn = bytearray(LOW)
    torn[0x48 + 8 : 0x48 + 10] = b"\3\0"
    names, said = listed(ROOT, [bytes(torn), HIGH])
    assert names == ["m", "z"]
    assert "impossible length of 3 bytes" in said


def test_an_index_that_leads_round_or_nowhere_ends():
    round_ = block(entry("a", below=0), entry("", last=True, below=7))
    names, said = listed(ROOT, [round_, HIGH])
    assert names == ["a", "m", "z"]
    assert said


@given(st.binary(max_size=300))
def test_any_index_gives_names_or_errors(noise):
    listed(noise, [])
    listed(node(noise), [LOW])
    names, _ = listed(ROOT, [block(noise[:200]), HIGH])
    assert all(names)


def packed(data):
    """LZNT1 by the simplest method: references into the last 40 bytes."""
    made = b""
    for low in range(0, len(data), CHUNK):
        chunk, out, at = data[low : low + CHUNK], bytearray(), 0
        while at < len(chunk):
            flags, group = 0, bytearray()
            for bit in range(8):
                if at >= len(chunk):
                    break
                bits = max(4, (at - 1).bit_length()) if at else 4
                best, back = 0, 0
                for distance in range(1, min(at, 40, 1 << bits) + 1):
                    length = 0
                    while (at + length < len(chunk) and length < (1 << 16 - bits) + 2
                           and chunk[at + length] == chunk[at + length - distance]):  # fmt: skip
                        length += 1
                    if length > best:
                        best, back = length, distance
                if best >= 3:
                    flags |= 1 << bit
                    group += struct.pack("<H", back - 1 << 16 - bits | best - 3)
                    at += best
                else:
                    group.append(chunk[at])
                    at += 1
            out += bytes([flags]) + group
        if len(out) < len(chunk):
            made += struct.pack("<H", 0xB000 | len(out) - 1) + out
        else:
            made += struct.pack("<H", 0x3000 | len(chunk) - 1) + chunk
    return made + b"\0\0"


@pytest.mark.slow
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=30), st.integers(1, 400)), max_size=12))
def test_what_was_packed_comes_out(parts):
    data = b"".join(one * count for one, count in parts)[: 3 * CHUNK]
    assert unpacked(packed(data), len(data)) == data
    assert unpacked(packed(data), len(data) + 100) == data + bytes(100)


def test_random_data_is_stored_uncompressed():
    data = random.Random(3).randbytes(2 * CHUNK)
    assert unpacked(packed(data), len(data)) == data


@given(st.binary(max_size=400), st.integers(0, 70_000))
def test_any_packed_data_is_unpacked_or_refused(noise, size):
    with suppress(*DAMAGE):
        assert len(unpacked(noise, size)) == size


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ("ffb0", "ends within"),
        ("02b0010000", "outside its chunk"),
        ("03b002610010", "outside its chunk"),
        ("03b00261ff0f", "outside its chunk"),
    ],
)
def test_packed_data_that_cannot_be_is_refused(raw, word):
    with pytest.raises(ValueError, match=word):
        unpacked(bytes.fromhex(raw), CHUNK)
