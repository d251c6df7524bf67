"""A tar of a folder holds all readable files, and its last member names the others."""

import io
import random
import struct
import tarfile

import pytest

from haulback.errors import Damaged, Incomplete, Malformed, NotFound, Unavailable
from haulback.filesystems.archive import packed
from haulback.filesystems.browser import Browser
from haulback.filesystems.parsers.ext_checksums import ExtChecksums
from haulback.filesystems.records import DirectoryEntries, EntryType, FileEntry
from haulback.filesystems.report import NAME, RECORD
from haulback.units import KIB, MIB
from tests.unit.repository.scene import MemoryDisk
from tests.volumes import browser, ext, needs_ext

pytestmark = pytest.mark.usefixtures("in_this_process")

REPORT = f"{NAME}.txt"


def unpacked(blocks):
    """The members of a tar in order: contents by name; None for members without contents."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(blocks))) as tar:
        return {one.name: tar.extractfile(one).read() if one.isfile() else None for one in tar}


def named(members):
    """The lines of the report, reason by path; the report must be the last member."""
    assert list(members)[-1].startswith(NAME)
    lines = members[list(members)[-1]].decode().splitlines()
    return dict(line.split("\t") for line in lines)


class Torn(MemoryDisk):
    """A disk with ranges that cannot be read."""

    def __init__(self, data, *ranges, error=None):
        super().__init__(data)
        self.ranges, self.error = ranges, error or Damaged("packs/07 is missing")

    def read_into(self, offset, buffer):
        for low, high in self.ranges:
            if offset < high and offset + len(buffer) > low:
                raise self.error
        super().read_into(offset, buffer)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("torn") / "tree"
    (tree / "f" / "sub").mkdir(parents=True)
    (tree / "f" / "a").write_bytes(b"A" * 100)
    (tree / "f" / "big").write_bytes(random.Random(7).randbytes(9 * MIB))
    (tree / "f" / "link").symlink_to("a")
    (tree / "f" / "long").symlink_to("x" * 200)
    (tree / "f" / "sub" / "inner").write_bytes(b"inner" * 100)
    for number in range(300):
        (tree / "f" / "sub" / f"{number:03d}{'n' * 60}").touch()
    (tree / "f" / "zulu").write_bytes(b"Z" * 5000)
    return tree


@pytest.fixture(scope="module", params=[pytest.param("ext4", marks=needs_ext)])
def image(request, tree, tmp_path_factory):
    """An ext4 volume in memory, and the file that it was made from."""
    path = tmp_path_factory.mktemp("image") / "image"
    return ext(path, tree, "-t", "ext4", "-O", "^metadata_csum", size=40 * MIB).read_bytes()


def place(image, data):
    """The offset of bytes that occur once in an image."""
    assert image.count(data) == 1
    return image.index(data)


def reading(disk):
    return Browser({"vda": disk})


def test_nothing_is_reported_of_what_can_be_read(image, tree):
    with reading(MemoryDisk(image)) as found:
        members = unpacked(found.archive("vda", ["/f"]))
    assert not [name for name in members if name.startswith(NAME)]
    assert members["f/big"] == (tree / "f" / "big").read_bytes()
    assert len([name for name in members if name.startswith("f/sub/")]) == 301


@pytest.mark.parametrize("gone", [5 * MIB + 77, 4 * MIB, 64 * KIB, 9 * MIB - 1])
def test_a_file_that_ends_half_way_is_filled_with_zeros_and_named_from_which_byte(
    image, tree, gone
):
    whole = (tree / "f" / "big").read_bytes()
    page = gone // KIB * KIB  # blocks are not smaller, and a file may have several fragments
    low = place(image, whole[page : page + 64])
    with reading(Torn(image, (low, low + KIB))) as result:
        members = unpacked(result.archive("vda", ["/f"]))
    said = named(members)
    assert list(said) == ["/f/big"]
    first = page // (64 * KIB) * 64 * KIB
    assert f"damaged from byte {first} of {len(whole)}" in said["/f/big"]
    assert "packs/07 is missing" in said["/f/big"]
    assert members["f/big"] == whole[:first] + bytes(len(whole) - first)
    assert members["f/a"] == b"A" * 100
    assert members["f/zulu"] == b"Z" * 5000


def test_a_file_of_which_nothing_can_be_read_is_named_and_has_no_member(image, tree):
    start = place(image, b"Z" * 5000)
    with reading(Torn(image, (start, start + 1))) as found:
        members = unpacked(found.archive("vda", ["/f"]))
        assert named(members) == {"/f/zulu": "packs/07 is missing"}
        assert "f/zulu" not in members
        assert len(members["f/big"]) == 9 * MIB
        with pytest.raises(Damaged, match="packs/07"):
            b"".join(found.stream("vda", "/f/zulu"))


def test_a_single_file_that_fails_half_way_fails(image, tree):
    start = place(image, (tree / "f" / "big").read_bytes()[:64])
    with reading(Torn(image, (start + 8 * MIB, start + 8 * MIB + 1))) as found:
        parts = found.stream("vda", "/f/big")
        assert len(next(parts)) == 256 << 10
        with pytest.raises(Damaged, match="packs/07"):
            list(parts)


def test_a_disk_that_is_away_breaks_the_tar_off(image):
    start = place(image, b"Z" * 5000)
    away = Unavailable("the NBD server closed the connection")
    with reading(Torn(image, (start, start + 1), error=away)) as found:
        parts = found.archive("vda", ["/f"])
        with pytest.raises(Unavailable, match="closed the connection"):
            list(parts)


def test_blocks_of_a_folder_that_are_damaged_are_named_and_the_others_delivered(image):
    size = 1024 << image[1024 + 24]
    block = place(image, b"299" + b"n" * 60) // size * size
    assert b"\x05\x01inner" not in image[block : block + size]
    broken = bytearray(image)
    broken[block + 4 : block + 6] = b"\3\0"  # the length of its first entry
    with reading(MemoryDisk(bytes(broken))) as result:
        page = result.listing("vda", "/f/sub")
        assert "damaged" in page.reason
        assert 260 < len(page) < 301
        members = unpacked(result.archive("vda", ["/f"]))
        assert "folder could not be listed completely" in named(members)["/f/sub"]
        assert members["f/sub/inner"] == b"inner" * 100
        assert members["f/zulu"] == b"Z" * 5000
        with pytest.raises(Malformed, match="not in the readable part of its folder"):
            result.entry("vda", f"/f/sub/299{'n' * 60}")


def test_a_folder_that_shows_nothing_is_named_and_the_rest_delivered(tmp_path):
    tree = tmp_path / "tree"
    (tree / "f" / "sub").mkdir(parents=True)
    (tree / "f" / "sub" / "inner").write_bytes(b"inner")
    (tree / "f" / "zulu").write_bytes(b"z")
    raw = bytearray(ext(tmp_path / "image", tree, "-t", "ext4", size=4 * MIB).read_bytes())
    block = raw.index(b"\x05\x01inner") // 1024 * 1024
    with reading(Torn(bytes(raw), (block, block + 1))) as result:
        members = unpacked(result.archive("vda", ["/"]))
    said = named(members)
    assert list(said) == ["/f/sub"]
    assert "the folder could not be listed at all: " in said["/f/sub"]
    assert members["./f/zulu"] == b"z"
    assert members["./f/sub"] is None


def test_a_disk_whose_beginning_cannot_be_read_is_listed_with_the_reason(image):
    with Browser({"vda": Torn(image, (0, 4096)), "vdb": MemoryDisk(image)}) as result:
        first, second = result.volumes()
        assert (first.name, first.type, first.readable) == ("vda", "unknown", False)
        assert "cannot be read" in first.reason
        assert second.readable
        assert result.read("vdb", "/f/zulu", 0, 10) == b"Z" * 10
    with (
        Browser({"vda": Torn(image, (0, 4096), error=Unavailable("it is gone"))}) as result,
        pytest.raises(Unavailable, match="it is gone"),
    ):
        result.volumes()


def inode_of(raw, name):
    """The inode number in the directory entry of a unique name."""
    at = place(raw, bytes([len(name)]) + b"\1" + name)
    return struct.unpack_from("<I", raw, at - 6)[0]


def inode_place(raw, number):
    table = struct.unpack_from("<I", raw, 4096 + 8 if raw[1024 + 24] else 2048 + 8)[0]
    size = struct.unpack_from("<H", raw, 1024 + 88)[0]
    return table * (1024 << raw[1024 + 24]) + (number - 1) * size


SPOILED = {
    "no type": (0, b"\0\0", "unknown file type 0o0"),
    "an unknown type": (0, b"\xa4\xf1", "unknown file type"),
    "an unknown map": (40, b"\0" * 12, "extent tree has no header"),
    "extents beyond the disk": (40 + 12 + 8, b"\xff\xff\xff\x7f", "past the end"),
    "encryption": (32, b"\x00\x08\x08\x00", "encrypted by the file system"),
}


@pytest.mark.parametrize(("offset", "data", "reason"), SPOILED.values(), ids=SPOILED)
def test_a_file_whose_inode_is_damaged_is_named(offset, data, reason, image):
    raw = bytearray(image)
    at = inode_place(raw, inode_of(raw, b"zulu"))
    raw[at + offset : at + offset + len(data)] = data
    with reading(MemoryDisk(bytes(raw))) as result:
        members = unpacked(result.archive("vda", ["/f"]))
        said = named(members)
        assert list(said) == ["/f/zulu"]
        assert reason in said["/f/zulu"]
        assert members["f/a"] == b"A" * 100
        entry = result.entry("vda", "/f/zulu")
        if entry.reason:
            assert not entry.readable
            assert entry.reason == said["/f/zulu"]
            assert entry in result.listing("vda", "/f")


def test_a_link_whose_target_cannot_be_read_is_named(image):
    start = place(image, b"x" * 200)
    with reading(Torn(image, (start, start + 1))) as found:
        members = unpacked(found.archive("vda", ["/f"]))
        assert list(named(members)) == ["/f/long"]
        assert "cannot be read" in named(members)["/f/long"]
        assert not found.entry("vda", "/f/long").readable
    assert "f/long" not in members
    assert "f/link" in members


def test_paths_that_are_damaged_are_named_beside_those_that_are_delivered(image):
    raw = bytearray(image)
    at = inode_place(raw, inode_of_folder(raw, b"sub"))
    raw[at + 40 : at + 52] = bytes(12)
    with reading(MemoryDisk(bytes(raw))) as found:
        members = unpacked(found.archive("vda", ["/f/sub/inner", "/f/a"]))
        assert list(named(members)) == ["/f/sub/inner"]
        assert next(iter(members)) == "f/a"
        with pytest.raises(NotFound, match="/f/nothing"):
            found.archive("vda", ["/f/sub/inner", "/f/nothing"])


def test_a_strict_tar_ends_at_the_first_file_that_cannot_be_read(image):
    start = place(image, b"Z" * 5000)
    with reading(Torn(image, (start, start + 1))) as found:
        assert "f/a" in unpacked(found.archive("vda", ["/f/a"], strict=True))
        parts = found.archive("vda", ["/f"], strict=True)
        with pytest.raises(Incomplete, match="/f/zulu cannot be read: packs/07") as told:
            list(parts)
    assert told.value.details["files"] == [{"path": "/f/zulu", "reason": "packs/07 is missing"}]
    assert told.value.exit_code == 3


@needs_ext
@pytest.mark.parametrize("taken", [REPORT, REPORT.lower(), f"{NAME}.TXT"])
def test_a_report_takes_the_name_of_no_file(tmp_path, taken):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / taken).write_bytes(b"the guest's own")
    (tree / "z").write_bytes(b"Z" * 5000)
    data = ext(tmp_path / "image", tree, "-t", "ext4", size=4 * MIB).read_bytes()
    start = place(data, b"Z" * 5000)
    with reading(Torn(data, (start, start + 1))) as result:
        for paths in (["/"], ["/z", f"/{taken}"]):
            members = unpacked(result.archive("vda", paths))
            assert b"the guest's own" in members.values()
            assert "/z" in named(members)
            tops = [name.removeprefix("./").upper() for name in members]
            assert len(set(tops)) == len(tops)


@needs_ext
def test_only_a_report_bears_the_mark_of_one(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / REPORT).write_bytes(b"/etc/passwd\tI am no report\n")
    with browser(ext(tmp_path / "image", tree, "-t", "ext4", size=4 * MIB)) as found:
        packed_whole = b"".join(found.archive("vda", ["/"]))
    with tarfile.open(fileobj=io.BytesIO(packed_whole)) as tar:
        assert not [one for one in tar if RECORD in one.pax_headers]


class Endless:
    """Directories nested without end."""

    def entry(self, volume, path):
        return FileEntry("a", EntryType.DIRECTORY, 0, 0, 0o755, 0, 0)

    def listing(self, volume, path, *, after="", most=1000):
        return DirectoryEntries([self.entry(volume, path)])


def test_a_tree_without_end_ends_and_is_named():
    members = unpacked(packed(Endless(), "vda", ["/"]))
    [(path, reason)] = named(members).items()
    assert path == "/a" * 256
    assert "deeper than 256" in reason


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """An ext4 volume whose metadata has checksums, in memory."""
    folder = tmp_path_factory.mktemp("checked")
    root = folder / "tree"
    (root / "f" / "sub").mkdir(parents=True)
    (root / "f" / "sub" / "below").write_bytes(b"b" * 100)
    for name in ("before", "zulu"):
        (root / "f" / name).write_bytes(name.encode() * 100)
    with open(root / "f" / "torn", "wb") as file:  # its extents do not fit into the inode
        for number in range(8):
            file.seek(number * 20_000)
            file.write(b"t" * 20)
    return ext(folder / "image", root, "-t", "ext4", size=8 * MIB).read_bytes()


def inode_byte(raw, name, offset):
    kind = 2 if name in (b"f", b"sub") else 1
    at = place(raw, bytes([len(name), kind]) + name) - 6
    return inode_place(raw, struct.unpack_from("<I", raw, at)[0]) + offset


FLIPPED = {
    "a time": (lambda raw: inode_byte(raw, b"zulu", 16), {"/f/zulu": "checksum of its inode"}),
    "an extent": (lambda raw: inode_byte(raw, b"zulu", 60), {"/f/zulu": "checksum of its inode"}),
    "a type": (lambda raw: inode_byte(raw, b"zulu", 1), {"/f/zulu": "of its inode"}),
    "a folder": (lambda raw: inode_byte(raw, b"sub", 16), {"/f/sub": "of the folder's inode"}),
    "a name": (lambda raw: place(raw, b"\6\1before") + 2, {"/f": "of a block of the folder"}),
    "extents": (
        lambda raw: struct.unpack_from("<I", raw, inode_byte(raw, b"torn", 56))[0] * 1024 + 20,
        {"/f/torn": "of a block of the extent tree"},
    ),
}


@needs_ext
@pytest.mark.parametrize(("place_of", "due"), FLIPPED.values(), ids=FLIPPED)
def test_a_bit_that_flipped_in_the_metadata_of_ext4_is_named(place_of, due, checked):
    raw = bytearray(checked)
    raw[place_of(raw)] ^= 0x40
    with reading(MemoryDisk(bytes(raw))) as result:
        members = unpacked(result.archive("vda", ["/f"]))
        said = named(members)
        assert list(said) == list(due)
        [(path, reason)] = due.items()
        assert reason in said[path]
        assert result.entry("vda", path).readable is ("inode" not in reason)
    assert members["f/sub/below"] == b"b" * 100
    assert ("f/zulu" in members) is ("/f/zulu" not in due)


@pytest.mark.parametrize("size", [1024, 4096, 65536])
def test_an_index_of_a_folder_is_no_block_with_a_wrong_checksum(size):
    """The kernel leaves the tail of a plain block behind an index that it makes of the block."""
    tail, rest = b"\0\0\0\0\x0c\0\0\xdeCRC!", (size - 12) & 0xFFFF
    root = struct.pack("<IHBB4sIHBB4s", 2, 12, 1, 2, b".", 2, rest, 2, 2, b"..")
    node = struct.pack("<IHBB", 0, size & 0xFFFF, 0, 0)
    plain = struct.pack("<IHBB4sIHBB4s", 2, 12, 1, 2, b".", 2, rest - 12, 2, 2, b"..")
    matches = [
        ExtChecksums(1).names_match(begin.ljust(size - 12, b"\0") + tail)
        for begin in (root, node, plain)
    ]
    assert matches == [True, True, False]


@needs_ext
def test_a_folder_that_lies_within_itself_is_named(tmp_path):
    tree = tmp_path / "tree"
    (tree / "f" / "sub" / "loop").mkdir(parents=True)
    (tree / "f" / "zulu").write_bytes(b"z")
    raw = bytearray(
        ext(
            tmp_path / "image", tree, "-t", "ext4", "-O", "^metadata_csum", size=4 * MIB
        ).read_bytes()
    )
    at = place(raw, b"\4\2loop") - 6
    raw[at : at + 4] = struct.pack("<I", inode_of_folder(raw, b"f"))
    with reading(MemoryDisk(bytes(raw))) as result:
        members = unpacked(result.archive("vda", ["/"]))
    assert list(named(members)) == ["/f/sub/loop"]
    assert "contains itself" in named(members)["/f/sub/loop"]
    assert members["./f/zulu"] == b"z"


def inode_of_folder(raw, name):
    at = place(raw, bytes([len(name)]) + b"\2" + name)
    return struct.unpack_from("<I", raw, at - 6)[0]


class Crowd:
    """A folder of unreadable files."""

    count = 200_000

    def entry(self, volume, path):
        return FileEntry("f", EntryType.DIRECTORY, 0, 0, 0o755, 0, 0)

    def listing(self, volume, path, *, after="", most=1000):
        low = int(after or -1) + 1
        numbers = range(low, min(low + most, self.count))
        return DirectoryEntries(
            FileEntry(f"{one:07d}", EntryType.OTHER, 0, 0, 0, 0, 0, None, "bad") for one in numbers
        )


@pytest.mark.slow
def test_a_report_of_many_files_does_not_fill_the_memory():
    import tracemalloc

    tracemalloc.start()
    try:
        size = sum(map(len, packed(Crowd(), "vda", ["/f"])))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > Crowd.count * len("/f/0000000\tbad\n")
    assert most < 6 * MIB
