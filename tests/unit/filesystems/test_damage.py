"""Any content of a disk gives data or a Haulback error, within a time limit."""

import os
import struct
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haulback.errors import Malformed
from haulback.filesystems.file_plan import FilePlan
from haulback.filesystems.parsers.blocks import BlockLocation, within
from haulback.filesystems.parsers.lvm_text import parse
from haulback.filesystems.parsers.queries import QueryHandler
from haulback.filesystems.records import (
    Content,
    DescribeFile,
    Entries,
    Failed,
    FileFacts,
    FileMap,
    FindEntry,
    ListDirectory,
    ListVolumes,
    MapFile,
    ReadFile,
    VolumesFound,
)
from haulback.filesystems.sandbox_main import answer
from haulback.units import KIB, MIB
from tests import shares, volumes
from tests.unit.filesystems.readers import passed_on
from tests.volumes import ext, needs_ext


class Memory:
    """A disk that needs no parent process."""

    def __init__(self, data):
        self.data, self.size = data, len(data)

    def read(self, offset, count):
        within(self, offset, count)
        return bytes(self.data[offset : offset + count])

    def places(self, offset, count):
        within(self, offset, count)
        yield BlockLocation(0, offset, count)


def explored(data):
    """Send all possible requests about a disk; fails for any result but data or Haulback errors."""
    asked, begun = QueryHandler({"vda": Memory(data)}), time.monotonic()
    told = passed_on(answer(asked, ListVolumes()))
    assert isinstance(told, VolumesFound | Failed)
    for volume in told.volumes if isinstance(told, VolumesFound) else ():
        left = [b"/"]
        while left and len(left) < 200:
            path = left.pop()
            entries = passed_on(answer(asked, ListDirectory(volume.name, path, b"", 100)))
            assert isinstance(entries, Entries | Failed)
            for entry in entries.entries if isinstance(entries, Entries) else ():
                below = path.rstrip(b"/") + b"/" + entry.name
                assert isinstance(answer(asked, FindEntry(volume.name, below)), Entries | Failed)
                facts = answer(asked, DescribeFile(volume.name, below))
                assert isinstance(passed_on(facts), FileFacts | Failed)
                if entry.type == "DIRECTORY" and below.count(b"/") < 5:
                    left.append(below)
                if entry.type == "REGULAR_FILE":
                    stored = answer(asked, MapFile(volume.name, below, 0))
                    assert isinstance(passed_on(stored), FileMap | Failed)
                    for offset in (0, max(0, entry.size - 5000)):
                        content = answer(asked, ReadFile(volume.name, below, offset, 1 * MIB))
                        assert isinstance(passed_on(content), Content | Failed)
                    reads_the_same_in_parts(asked, data, ReadFile(volume.name, below, 0, 0))
    assert time.monotonic() - begun < 60


def reads_the_same_in_parts(asked, data, file, step=16 * KIB, most=128 * KIB):
    """Fail if the beginning of a file differs between requests of `step` bytes and long ones."""

    def ask(offset, count):
        told = passed_on(answer(asked, ReadFile(file.volume, file.path, offset, count)))
        if isinstance(told, Failed):
            raise Malformed(told.message)
        return told

    plan = FilePlan(ask)
    short = contents(data, lambda at: ask(at, step).pieces, most)
    assert contents(data, lambda at: plan.pieces(at, step), most) == short


def contents(data, pieces, most):
    """The first bytes of a file up to damage, whose message follows."""
    result = b""
    try:
        while len(result) < most and (parts := pieces(len(result))):
            for part in parts:
                low, high = part.offset, part.offset + part.length
                stored = bytes(data[low:high]) if part.disk >= 0 else bytes(part.length)
                result += part.data or stored
    except Malformed as error:
        return result, error.message
    return result[:most], ""


def tree(folder):
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "file").write_bytes(os.urandom(20_000))
    (folder / "tiny").write_bytes(b"tiny")
    for name in ("file", "sub"):
        for number in range(8):
            with suppress(OSError):  # the file system of the tests stores no attributes
                os.setxattr(folder / name, f"user.note{number}", b"v" * 10 * number)
    (folder / "link").symlink_to("sub/deep")
    (folder / "long").symlink_to("sub/../" * 30 + "file")
    for number in range(40):
        (folder / "sub" / f"name{number}").write_bytes(b"%d" % number)
    with open(folder / "holes", "wb") as file:
        for number in range(30):
            file.seek(number * 20_000)
            file.write(b"data")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Small file systems of each type that this machine can make."""
    folder = tmp_path_factory.mktemp("images")
    files = tree(folder / "tree")
    made = {
        "ext4": ext(folder / "ext4", files, "-t", "ext4", "-O", "inline_data", size=2 * MIB),
        "ext2": ext(folder / "ext2", files, "-t", "ext2", size=2 * MIB),
    }
    return {name: path.read_bytes() for name, path in made.items()}


changes = st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=60)


def spoiled(data, where, low=0):
    """The data with changed bytes, most of them in metadata."""
    changed = bytearray(data)
    used = [at for at in range(low, len(data), 64) if any(data[at : at + 64])]
    for place, byte in where:
        at = used[place % len(used)] + place // len(used) % 64
        changed[at] = byte
    return changed


fuzzed = settings(
    max_examples=shares.cases("hostile").count,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@needs_ext
@pytest.mark.parametrize("kind", ["ext4", "ext2"])
@given(where=changes)
@fuzzed
def test_a_damaged_ext_gives_data_or_errors(kind, images, where):
    explored(spoiled(images[kind], where))


@needs_ext
def test_every_byte_of_a_superblock_may_be_wrong(images):
    for at in range(1024, 1024 + 264, 3):
        changed = bytearray(images["ext4"])
        changed[at] ^= 0xFF
        explored(changed)


@pytest.fixture(scope="module")
def fat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fat")
    (folder / "tree" / "sub").mkdir(parents=True)
    (folder / "tree" / "file").write_bytes(os.urandom(20_000))
    (folder / "tree" / "sub" / "a long name.txt").write_bytes(b"text")
    return volumes.fat(folder / "fat", folder / "tree", size=2 * MIB).read_bytes()


@given(where=changes)
@settings(fuzzed, max_examples=fuzzed.max_examples // 2)
def test_a_damaged_fat_gives_data_or_errors(fat, where):
    explored(spoiled(fat, where))


@given(data=st.binary(max_size=4 * KIB))
def test_random_data_as_a_disk_is_refused_without_a_crash(data):
    explored(data)


@given(data=st.binary(max_size=600))
def test_random_data_in_a_partition_table_is_refused_without_a_crash(data):
    disk = bytearray(64 * KIB)
    disk[446 : 446 + len(data)] = data
    disk[510:520] = b"\x55\xaaEFI PART"
    explored(disk)


def test_logical_partitions_that_chain_to_themselves_end():
    disk = bytearray(64 * KIB)
    disk[446:462] = struct.pack("<B3xB3xII", 0, 5, 1, 100)
    disk[512 + 462 : 512 + 478] = struct.pack("<B3xB3xII", 0, 5, 0, 100)
    disk[510:512] = disk[1022:1024] = b"\x55\xaa"
    explored(disk)


def test_metadata_of_lvm_is_parsed_with_its_comments_and_lists():
    text = b'vg { # a comment\nid = "a-b"\nseqno = 3\nlist = ["x", 0,\n"y", 1]\nin { n = -1 } }'
    section = {"id": "a-b", "seqno": 3, "list": ["x", 0, "y", 1], "in": {"n": -1}}
    assert parse(text) == {"vg": section}


@pytest.mark.parametrize("text", [b"a {", b"}", b"a", b"a = ", b"a = [1", b'"', b"a { " * 99])
def test_metadata_of_lvm_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="LVM"):
        parse(text)


@given(st.binary(max_size=200))
def test_any_metadata_of_lvm_is_parsed_or_refused(data):
    with suppress(ValueError):
        parse(data)
