"""An NTFS volume filled by ntfs-3g is read to the last byte, and unreadable files are named."""

import contextlib
import hashlib
import io
import os
import random
import stat
import struct
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haulback.errors import Malformed, Unsupported
from haulback.filesystems.browser import Browser
from haulback.filesystems.parsers.ntfs_records import LIST, parsed
from haulback.filesystems.report import NAME
from haulback.units import MIB
from tests import shares, volumes
from tests.unit.filesystems.test_damage import changes, explored, spoiled
from tests.unit.repository.scene import MemoryDisk
from tests.volumes import browser, described, empty, listed, run, tool


def made(path, fill, *options, size=64 * MIB):
    """An NTFS volume; `fill` gets its root and adds files."""
    tool("mkntfs"), tool("ntfs-3g")
    run("mkntfs", "-q", "-F", "-Q", *options, empty(path / "image", size))
    with volumes.ntfs(path / "image", path / "mount") as root:
        fill(root)
    return path / "image"


def members(found, path):
    with tarfile.open(fileobj=io.BytesIO(b"".join(found.archive("vda", [path])))) as tar:
        return {one.name: tar.extractfile(one).read() if one.isfile() else None for one in tar}


def unreadable(members_):
    *_, last = members_
    assert last.startswith(NAME), list(members_)
    return dict(line.split("\t") for line in members_[last].decode().splitlines())


def packs(folder):
    """Turn on compression for new files of the folder."""
    os.setxattr(folder, "system.ntfs_attrib_be", struct.pack(">I", 0x800))


SPARSE = {
    "one hole": lambda f: (f.truncate(2 << 30), f.seek(2_000_000_000), f.write(b"end")),
    "data between holes": lambda f: [
        (f.seek(number * 90_000_001), f.write(b"%d." % number * 500)) for number in range(60)
    ],
    "a hole to its end": lambda f: (f.write(b"begin"), f.truncate(5 << 30)),
    "nothing but a hole": lambda f: f.truncate(3 << 30),
}


@pytest.mark.parametrize("write", SPARSE.values(), ids=SPARSE)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
def test_a_sparse_file_longer_than_its_volume_is_read(write, packed, tmp_path):
    expected = {}

    def fill(root):
        (root / "f").mkdir()
        if packed:
            packs(root / "f")
        (root / "f" / "a").write_bytes(b"a")
        with open(root / "f" / "vm.vhdx", "wb") as file:
            write(file)
        (root / "f" / "z").write_bytes(b"z")
        with open(root / "f" / "vm.vhdx", "rb") as file:
            size = file.seek(0, os.SEEK_END)
            expected[None] = size
            for at in (
                0,
                2_000_000_000,
                59 * 90_000_001,
                45_000_000,
                max(0, size - 4000),
                size - 3,
            ):
                if 0 <= at < size:
                    file.seek(at)
                    expected[at] = file.read(4000)

    with browser(made(tmp_path, fill, size=100 * MIB)) as result:
        seen = [(item.name, item.size, item.reason) for item in result.listing("vda", "/f")]
        assert seen == [("a", 1, ""), ("vm.vhdx", expected.pop(None), ""), ("z", 1, "")]
        for at, data in expected.items():
            assert result.read("vda", "/f/vm.vhdx", at, 4000) == data


def test_a_tar_holds_a_sparse_file_longer_than_its_volume(tmp_path):
    def fill(root):
        (root / "f").mkdir()
        (root / "f" / "a").write_bytes(b"a")
        with open(root / "f" / "vm.vhdx", "wb") as file:
            file.truncate(90 * MIB)
            file.seek(85_000_000)
            file.write(b"end")
        (root / "f" / "z").write_bytes(b"z")

    with browser(made(tmp_path, fill, size=20 * MIB)) as result:
        packed = members(result, "/f")
    assert list(packed) == ["f", "f/a", "f/vm.vhdx", "f/z"]
    assert packed["f/vm.vhdx"] == (bytes(85_000_000) + b"end").ljust(90 * MIB, b"\0")


def fragments(root):
    """Fill a volume with fragmented files, large and small folders, unusual names, compressed and
    sparse files.
    """
    chance = random.Random(1)
    for number in range(3000):
        (root / f"piece{number:05d}").write_bytes(bytes([number % 251]) * 4096)
    os.sync()
    for number in range(0, 3000, 2):
        (root / f"piece{number:05d}").unlink()
    os.sync()
    (root / "fragmented").write_bytes(chance.randbytes(6_500_000))
    many = root / "many"
    many.mkdir()
    for number in range(3000):
        (many / f"file {number:05d} {'é' * (number % 90)}").write_bytes(b"%d" % number)
    for number in range(0, 3000, 3):
        (many / f"file {number:05d} {'é' * (number % 90)}").unlink()
    (root / "😀 of two units 𠮷").write_bytes(b"s")
    (root / ("q" * 255)).write_bytes(b"q")
    os.link(root / "fragmented", many / "another name of it")
    packed = root / "packed"
    packed.mkdir()
    packs(packed)
    lines = b"".join(b"line %d of a text that packs well\n" % number for number in range(20_000))
    (packed / "text").write_bytes(lines)
    (packed / "noise").write_bytes(chance.randbytes(300_000))
    with open(packed / "mixed", "wb") as file:
        for _ in range(40):
            file.write(chance.choice([bytes(70_000), chance.randbytes(50_000), b"abc" * 30_000]))


@pytest.mark.parametrize(
    "options", [("4096",), ("512",), ("65536",), ("4096", "-s", "4096")], ids=str
)
def test_a_fragmented_ntfs_is_read_as_it_is(options, tmp_path):
    theirs, sums = {}, {}

    def fill(root):
        fragments(root)
        theirs.update(described(root, unix=False))
        for path, (kind, *_) in theirs.items():
            if kind == stat.S_IFREG:
                with open(os.fspath(root) + path, "rb") as file:
                    sums[path] = hashlib.file_digest(file, "sha256").digest()

    with browser(made(tmp_path, fill, "-c", *options, size=200 * MIB)) as result:
        assert listed(result, "vda", unix=False) == theirs
        for path, digest in sums.items():
            assert hashlib.sha256(b"".join(result.stream("vda", path))).digest() == digest, path


def test_a_table_of_files_in_very_many_pieces_is_read(tmp_path):
    """The records that locate the table are then records of the table itself."""
    names = {}

    def fill(root):
        folder = root / "fill"
        folder.mkdir()
        for number in range(7000):
            (folder / f"{number}").write_bytes(b"x" * 700)
        with contextlib.suppress(OSError), open(root / "big", "wb") as file:
            while True:
                file.write(b"A" * 65536)
        os.sync()
        for number in range(0, 7000, 2):
            (folder / f"{number}").unlink()
        os.sync()
        with contextlib.suppress(OSError):
            for number in range(20_000):
                (folder / f"new{number}").write_bytes(b"%d" % number)
                names[f"new{number}"] = b"%d" % number

    image = made(tmp_path, fill, "-c", "512", size=20 * MIB)
    raw = image.read_bytes()
    table = struct.unpack_from("<Q", raw, 48)[0] * 512
    assert LIST in [attribute.type for attribute in parsed(raw[table : table + 1024]).attributes]
    with browser(image) as result:
        for name, data in names.items():
            assert result.read("vda", f"/fill/{name}", 0, 99) == data
        assert result.read("vda", "/fill/6999", 0, 1000) == b"x" * 700


@pytest.mark.parametrize("cluster", ["131072", "1048576", "2097152"])
def test_clusters_of_more_than_64_kib_are_read(cluster, tmp_path):
    def fill(root):
        (root / "hello.txt").write_bytes(b"hello")
        (root / "big").write_bytes(bytes(range(256)) * 20_000)

    with browser(made(tmp_path, fill, "-c", cluster, size=200 * MIB)) as found:
        assert found.read("vda", "/hello.txt", 0, 10) == b"hello"
        assert b"".join(found.stream("vda", "/big")) == bytes(range(256)) * 20_000


def test_a_file_that_windows_keeps_in_a_way_of_its_own_is_named_beside_the_others(tmp_path):
    def fill(root):
        (root / "win").mkdir()
        for name in "abc":
            (root / "win" / f"{name}.dll").write_bytes(name.encode() * 5000)
        data = struct.pack("<IIII", 1, 2, 1, 0)
        tag = struct.pack("<IHH", 0x80000017, len(data), 0) + data
        os.setxattr(root / "win" / "b.dll", "system.ntfs_reparse_data", tag)
        os.mkfifo(root / "win" / "pipe")

    with browser(made(tmp_path, fill)) as result:
        packed = members(result, "/win")
        assert (packed["win/a.dll"], packed["win/c.dll"]) == (b"a" * 5000, b"c" * 5000)
        assert list(unreadable(packed)) == ["/win/b.dll"]
        assert "0x80000017" in unreadable(packed)["/win/b.dll"]
        assert "win/b.dll" not in packed
        rows = {item.name: item.readable for item in result.listing("vda", "/win")}
        assert rows == {"a.dll": True, "b.dll": False, "c.dll": True, "pipe": True}
        with pytest.raises(Unsupported, match="0x80000017"):
            result.stream("vda", "/win/b.dll")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A small NTFS volume with a folder of three files, a larger folder and a compressed file."""

    def fill(root):
        (root / "f").mkdir()
        for name in "abc":
            (root / "f" / f"file-{name}").write_bytes(name.encode() * 5000)
        (root / "f" / "tiny").write_bytes(b"tiny")
        (root / "g").mkdir()
        for number in range(150):
            (root / "g" / f"name {number:04d} {'n' * 30}").write_bytes(b"%d" % number)
        packs(root / "f")
        (root / "f" / "packed").write_bytes(b"line of text\n" * 5000)
        (root / "f" / "link").symlink_to("file-a")

    path = made(tmp_path_factory.mktemp("ntfs"), fill, size=2 * MIB)
    return path.read_bytes()


def record_of(image, name):
    """The offset of the record with the name of a file."""
    wanted, result = name.encode("utf-16-le"), set()
    at = image.find(wanted)
    while at >= 0:
        start = at // 1024 * 1024
        if image[start : start + 4] == b"FILE" and image[start + 22] == 1:
            result.add(start)
        at = image.find(wanted, at + 2)
    (start,) = result
    return start


SPOILED = {
    "another magic": (0, b"BAAD"),
    "a sector of another writing": (510, b"??"),
    "a record that is free": (22, b"\0\0"),
    "a record of another file since": (16, b"\x77\x07"),
    "a record that goes on another one": (32, b"\x63"),
    "attributes without a length": (0x38 + 4, b"\0\0\0\0"),
}


@pytest.mark.parametrize(("offset", "data"), SPOILED.values(), ids=SPOILED)
def test_a_file_whose_record_is_damaged_is_named_and_the_rest_delivered(offset, data, image):
    raw = bytearray(image)
    at = record_of(image, "file-b")
    raw[at + offset : at + offset + len(data)] = data
    with Browser({"vda": MemoryDisk(bytes(raw))}) as result:
        packed = members(result, "/f")
        assert list(unreadable(packed)) == ["/f/file-b"]
        assert packed["f/file-a"] == b"a" * 5000
        assert packed["f/packed"] == b"line of text\n" * 5000
        assert packed["f/tiny"] == b"tiny"
        (row,) = [item for item in result.listing("vda", "/f") if not item.readable]
        assert (row.name, row.reason) == ("file-b", unreadable(packed)["/f/file-b"])


def test_a_block_of_a_folder_that_is_damaged_hides_nothing_of_the_others(image):
    names = {f"name {number:04d} {'n' * 30}" for number in range(150)}
    blocks = [at for at in range(0, len(image), 4096) if image[at : at + 4] == b"INDX"]
    wanted = "name 0077".encode("utf-16-le")
    raw = bytearray(image)
    raw[next(at for at in blocks if wanted in image[at : at + 4096]) + 510] ^= 0xFF
    with Browser({"vda": MemoryDisk(bytes(raw))}) as result:
        page = result.listing("vda", "/g")
        assert 50 < len(page) < 150
        assert "in parts" in page.reason
        packed = members(result, "/g")
        assert len(packed) == len(page) + 2
        assert list(unreadable(packed)) == ["/g"]
        with pytest.raises(Malformed, match="not in the readable part of its folder"):
            result.read("vda", f"/g/{min(names - {item.name for item in page})}", 0, 9)


def test_the_copy_of_the_first_records_is_used_when_they_are_damaged(image):
    raw = bytearray(image)
    (first,) = struct.unpack_from("<Q", raw, 48)
    raw[first * 4096 : first * 4096 + 4] = b"BAAD"
    with Browser({"vda": MemoryDisk(bytes(raw))}) as found:
        assert found.read("vda", "/f/tiny", 0, 10) == b"tiny"


fuzzed = settings(
    max_examples=shares.cases("hostile").count,
    suppress_health_check=list(HealthCheck),
    deadline=None,
)


@given(where=changes)
@fuzzed
def test_a_damaged_ntfs_gives_data_or_errors(image, where):
    explored(spoiled(image, where))


@given(at=st.integers(0, 2 * MIB), noise=st.binary(min_size=1, max_size=2000))
@fuzzed
def test_random_data_in_an_ntfs_gives_data_or_errors(image, at, noise):
    raw = bytearray(image)
    used = [low for low in range(0, len(raw), 512) if any(raw[low : low + 512])]
    start = used[at % len(used)]
    raw[start : start + len(noise)] = noise
    explored(raw[: len(image)])
