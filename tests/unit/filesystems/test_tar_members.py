"""Tars keep holes, hard links, extended attributes and access lists, as GNU tar reads them."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.errors import Damaged, Incomplete
from haulback.filesystems.archive import packed
from haulback.filesystems.parsers.queries import joined_ranges
from haulback.filesystems.records import (
    DirectoryEntries,
    EntryHint,
    EntryType,
    FileEntry,
    FileFacts,
    FileMap,
)
from haulback.filesystems.sparse import SparseMap
from haulback.filesystems.tar_members import TarMember
from haulback.units import GIB, KIB, MIB
from tests import shares, volumes
from tests.volumes import browser, empty, ext, needs_ext, run, tool

FUZZED = settings(max_examples=shares.cases("files").count)
TREE = """
set -e; cd "$1"
mkdir -p d/sub; printf some > d/file; setfattr -n user.comment -v 'a=b%c' d/file
setfattr -n user.bin -v 0x00ff0a3d00 d/file; setfattr -n trusted.t -v tt d/file
setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 d/file
setfacl -m u:1234:rw,g:70000:r,m:rwx d/file; setfacl -d -m u:5:rx d/sub
head -c 5000 /dev/zero | tr '\\0' v > value; setfattr -n user.long -v "$(cat value)" d/sub
n=0; while [ $n -lt $2 ]; do setfattr -n user.n$n -v "value $n" d/sub; n=$((n+1)); done
printf hard > d/a; ln d/a d/b; ln d/a z
truncate -s 40G d/hole; printf middle | dd of=d/hole bs=1M seek=20000 conv=notrunc status=none
truncate -s 3G d/nothing; truncate -s 300000 d/small; printf end >> d/small
fallocate -l 8M d/reserved; head -c 70000 /dev/urandom > d/full
mkfifo d/pipe; mknod d/char c 5 1; mknod d/block b 259 70000; chmod 640 d/block
touch -d '1960-02-03 04:05:06.123456789' d/full; touch -d '2040-01-01 00:00:00.999999999' d/pipe
ln -s file d/link; chown -h 77:78 d/link; printf x > "d/$(printf 'n%0150d' 1)"
"""
EXTRACTED = 'mkdir "$1/out"; tar --xattrs "--xattrs-include=*" --acls -xpf - -C "$1/out"'
LOOKED = r"""
cd "$1"; find d z value ! -type d -printf "%p %y %s %m %U %G %n %l %T@\n" | sort
stat -c "%t %T" d/[bc]*
find d | sort | while read f; do getfattr -hdm- -e hex "$f" | sort; getfacl -pn "$f"; done
find d -type f ! -name reserved -printf "%b %p\n" | sort -k2
find d -type f ! -name hole ! -name nothing | sort | xargs sha256sum --
"""


@needs_ext
@pytest.mark.slow  # two file systems that the kernel mounts
@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("kind", ["ext4", "ext4 with small inodes", "xfs"])
def test_gnu_tar_restores_what_the_kernel_shows(kind, tmp_path):
    tool("setfacl"), tool("setfattr")
    image, other = empty(tmp_path / "image", 320 * MIB), empty(tmp_path / "other", 320 * MIB)
    make = {
        "ext4": ["mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "ea_inode"],
        "ext4 with small inodes": [
            "mkfs.ext4",
            "-q",
            "-F",
            "-b",
            "4096",
            "-I",
            "128",
            "-O",
            "ea_inode",
        ],
        "xfs": ["mkfs.xfs", "-q", "-f"],
    }[kind]
    for path in (image, other):
        run(*make, path)
    with volumes.mounted(image, tmp_path / "mount") as root:
        run("sh", "-c", TREE, "x", root, 200 if kind == "xfs" else 12)
        due = run("sh", "-c", LOOKED, "x", root).splitlines()
    with browser(image) as reader:
        parts = list(reader.archive("vda", ["/d", "/z", "/value"]))
    assert sum(map(len, parts)) < 2 * MIB
    with volumes.mounted(other, tmp_path / "mount") as root:
        run("sh", "-c", EXTRACTED, "x", root, input=b"".join(parts))
        seen = run("sh", "-c", LOOKED, "x", root / "out").splitlines()
        assert (root / "out/d/hole").stat().st_size == 40 * GIB
    assert seen == due


class Files:
    """Files in memory with maps, attributes and damage."""

    def __init__(self, files: dict[str, bytes], **more) -> None:
        self.files, self.more = files, more

    def entry(self, volume, path):
        name = path.strip("/")
        if name not in self.files:
            return FileEntry(name, EntryType.DIRECTORY, 0, 0, 0o755, 0, 0)
        links = self.more.get("links", {})
        return FileEntry(
            name, EntryType.REGULAR_FILE, len(self.files[name]), 0, 0o644, 0, 0, None, "",
            node=links.get(name, 0), links=2 if name in links else 1,
            hints=EntryHint.HOLES | EntryHint.ATTRIBUTES,
        )  # fmt: skip

    def listing(self, volume, path, *, after="", most=1000):
        return DirectoryEntries(self.entry(volume, name) for name in sorted(self.files))

    def facts(self, volume, path):
        return self.more.get("facts", FileFacts())

    def stored(self, volume, path, size):
        result = SparseMap(size)
        for offset, length in self.more.get("maps", {}).get(path.strip("/"), [(0, size)]):
            result.add(offset, length)
        return result

    def read(self, volume, path, offset, count):
        bad = self.more.get("bad", 1 << 60)
        if offset + count > bad and offset < len(self.files[path.strip("/")]):
            raise Damaged("packs/07 is missing")
        return self.files[path.strip("/")][offset : offset + count]

    def stream(self, volume, path):
        yield self.read(volume, path, 0, 1 << 60)

    def parts(self, volume, path, ranges):
        for window in ranges.windows(64 * KIB):
            for offset, length in window.ranges:
                yield self.read(volume, path, offset, length)


def unpacked(blocks) -> dict[str, bytes | None]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(blocks))) as tar:
        return {item.name: tar.extractfile(item).read() if item.isfile() else item.linkname
                for item in tar}  # fmt: skip


def test_a_second_name_of_a_file_is_a_link_and_a_damaged_one_is_named_by_both():
    source = Files({"a": b"A" * 9000, "b": b"A" * 9000, "c": b"C"}, links={"a": 7, "b": 7})
    members = unpacked(packed(source, "v", ["/"]))
    assert (members["./a"], members["./b"], members["./c"]) == (b"A" * 9000, "./a", b"C")
    source.more |= {"bad": 8000, "maps": {"a": [(0, 4096), (8192, 808)]}}
    members = unpacked(packed(source, "v", ["/"]))
    report = members["HAULBACK-UNREADABLE-FILES.txt"].decode().splitlines()
    assert [line.split("\t")[0] for line in report] == ["/a", "/b"]
    assert "damaged from byte 8192 of 9000" in report[0]
    assert members["./a"][:4096] == b"A" * 4096
    assert members["./a"][4096:] == bytes(9000 - 4096)


def test_a_path_that_is_asked_for_twice_is_no_link_to_itself():
    source = Files({"a": b"A" * 900, "b": b"A" * 900}, links={"a": 7, "b": 7})
    with tarfile.open(fileobj=io.BytesIO(b"".join(packed(source, "v", ["/a", "/a", "/b"])))) as tar:
        assert [(item.name, item.linkname) for item in tar] == [("a", ""), ("a", ""), ("b", "a")]


@given(
    st.integers(0, 1 << 50), st.integers(0, (1 << 32) - 1), st.integers(-(1 << 45), 1 << 45),
    st.lists(st.binary(min_size=1, max_size=90).filter(lambda n: not set(n) & {0, 47}), min_size=1),
)  # fmt: skip
@FUZZED
def test_any_header_says_what_the_entry_is(size, id_, modified, names):
    name = os.fsdecode(b"/".join(names))
    entry = FileEntry(name, EntryType.REGULAR_FILE, size, modified, 0o4751, id_, id_)
    with tarfile.open(fileobj=io.BytesIO(TarMember(entry, name, tarfile.REGTYPE, size).header()),
                      errors="surrogateescape") as tar:  # fmt: skip
        found = tar.next()
    assert (found.name, found.size, found.uid, found.gid) == (name, size, id_, id_)
    assert (found.mode, round(found.mtime * 1000)) == (0o4751, modified)


@pytest.mark.parametrize(
    ("moment", "fine", "record"),
    [(0, 1, b"0.000000001"), (-1500, 0, b"-1.5"), (-1, 999_999, b"-0.000000001"),
     (1_700_000_000_250, 7, b"1700000000.250000007"), (-86_400_000, 0, b"-86400")],
)  # fmt: skip
def test_times_have_nanoseconds(moment: int, fine: int, record: bytes):
    entry = FileEntry("a", EntryType.REGULAR_FILE, 0, moment, 0o644, 0, 0, fine=fine)
    assert b" mtime=%s\n" % record in TarMember(entry, "a", tarfile.REGTYPE).header()


def test_pipes_and_devices_are_members_and_sockets_are_not():
    kinds = {"p": stat.S_IFIFO, "c": stat.S_IFCHR, "b": stat.S_IFBLK, "s": stat.S_IFSOCK}
    entries = [
        FileEntry(name, EntryType.OTHER, 0, 0, 0o640, 0, 0, kind=kind, device=(259, 70_000))
        for name, kind in kinds.items()
    ]
    source = Files({})
    source.listing = lambda *_, **__: DirectoryEntries(entries)
    with tarfile.open(fileobj=io.BytesIO(b"".join(packed(source, "v", ["/d"])))) as tar:
        members = {item.name: item for item in tar}
    assert [*members] == ["d", "d/p", "d/c", "d/b"]
    assert (members["d/p"].isfifo(), members["d/c"].ischr()) == (True, True)
    assert (members["d/b"].isblk(), members["d/b"].devmajor) == (True, 259)
    assert members["d/b"].devminor == 70_000


def test_attributes_that_cannot_be_read_are_named_and_the_file_is_delivered():
    source = Files({"a": b"A"}, facts=FileFacts([(b"user.x", b"1")], reason="a stream of 9 bytes"))
    members = unpacked(packed(source, "v", ["/"]))
    assert members["./a"] == b"A"
    assert b"a stream of 9 bytes" in members["HAULBACK-UNREADABLE-FILES.txt"]
    with pytest.raises(Incomplete, match="a stream"):
        list(packed(source, "v", ["/a"], strict=True))


RANGES = st.lists(st.tuples(st.integers(1, 40_000), st.integers(1, 20_000)), max_size=9)


@given(RANGES, st.integers(0, 50_000), st.binary(min_size=1, max_size=9), st.text(max_size=120))
@FUZZED
def test_a_sparse_member_is_read_as_the_whole_file(steps, tail, content, label):
    at, ranges, data = 0, [], bytearray()
    for gap, length in steps:
        data += bytes(gap) + (content * length)[:length]
        ranges.append((at + gap, length))
        at += gap + length
    data += bytes(tail)
    value = label.encode(errors="replace")
    facts = FileFacts([(b"user.=%n", value)])
    source = Files({"f": bytes(data)}, maps={"f": ranges}, facts=facts)
    whole = b"".join(packed(source, "v", ["/f"]))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        [member] = tar.getmembers()
        assert (member.name, member.size) == ("f", len(data))
        assert tar.extractfile(member).read() == data
        assert member.pax_headers["SCHILY.xattr.user.%3D%25n"].encode() == value
    if sum(length for _, length in ranges) + 8192 < len(data):
        assert len(whole) < len(data) + 4096


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=9), st.integers(0, 300)
)
@FUZZED
def test_any_map_ascends_or_is_refused(stored, offset):
    try:
        answer = joined_ranges(stored, offset, 400)
    except ValueError:
        return
    assert isinstance(answer, FileMap)
    at = offset
    for low, length in answer.ranges:
        assert low >= at
        assert length > 0
        at = low + length
    assert at <= max(answer.end, offset)
    assert answer.end <= 400


def test_a_map_of_very_many_ranges_keeps_its_data_in_little_memory():
    result = SparseMap(1 << 40)
    for number in range(300_000):
        result.add(number * 8192, 4096)
    ranges = list(result.ranges())
    assert len(ranges) <= 65_536
    assert result.stored <= 300_000 * 8192
    assert all(any(low <= at < low + length for low, length in ranges[:1]) for at in (0, 4095))
    assert ranges[-1][0] + ranges[-1][1] == 299_999 * 8192 + 4096


@needs_ext
@pytest.mark.usefixtures("in_this_process")
def test_a_map_of_block_pointers_is_told_in_parts(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    with open(tree / "hole", "wb") as file:
        for at in (0, 17 * GIB, 50 * GIB):
            file.seek(at)
            file.write(b"here")
    with browser(ext(tmp_path / "image", tree, "-t", "ext2", "-b", "4096", size=8 * MIB)) as reader:
        assert [low for low, _ in reader.stored("vda", "/hole", 50 * GIB + 4).ranges()] == [
            0, 17 * GIB, 50 * GIB]  # fmt: skip
        parts = reader.archive("vda", ["/hole"])
        assert sum(map(len, parts)) < 64 * KIB


def test_bsdtar_finds_the_contents(tmp_path):
    source = Files({"f": b"A" * 9000 + bytes(90_000) + b"Z"}, maps={"f": [(0, 9000), (99_000, 1)]})
    whole = b"".join(packed(source, "v", ["/f"]))
    tool("bsdtar")
    subprocess.run(["bsdtar", "-xf", "-", "-C", os.fspath(tmp_path)], input=whole, check=True)
    assert (tmp_path / "f").read_bytes() == source.files["f"]


@pytest.mark.slow  # an NTFS that ntfs-3g fills
@pytest.mark.usefixtures("in_this_process")
def test_streams_and_holes_of_an_ntfs_come_along(tmp_path):
    tool("mkntfs"), tool("ntfs-3g")
    image = empty(tmp_path / "image", 32 * MIB)
    run("mkntfs", "-q", "-F", "-Q", image)
    with volumes.ntfs(image, tmp_path / "mount") as root:
        (root / "f").mkdir()
        (root / "f" / "mark").write_bytes(b"x" * 3000)
        os.setxattr(root / "f" / "mark", "user.Zone.Identifier", b"[ZoneTransfer]")
        os.setxattr(root / "f" / "mark", "user.large", b"L" * 60_000)
        os.link(root / "f" / "mark", root / "f" / "other")
        os.setxattr(root / "f", "user.folder", b"1")
        for name in ("plain", "packed"):
            (root / "f" / name).mkdir()
            if name == "packed":
                os.setxattr(root / "f" / name, "system.ntfs_attrib_be", b"\0\0\x08\0")
            with open(root / "f" / name / "hole", "wb") as file:
                file.truncate(5 * GIB)
                file.seek(3 * GIB)
                file.write(b"middle" * 20_000)
    with browser(image) as reader:
        whole = b"".join(reader.archive("vda", ["/f"]))
        assert reader.facts("vda", "/f/packed").features == ("compressed",)
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        mark = tar.getmember("f/mark").pax_headers
        assert mark["SCHILY.xattr.user.Zone.Identifier"] == "[ZoneTransfer]"
        assert mark["SCHILY.xattr.user.large"] == "L" * 60_000
        assert tar.getmember("f/other").linkname == "f/mark"
        assert tar.getmember("f").pax_headers["SCHILY.xattr.user.folder"] == "1"
        for name in ("f/plain/hole", "f/packed/hole"):
            member = tar.extractfile(name)
            assert tar.getmember(name).size == 5 * GIB
            member.seek(3 * GIB - 10)
            assert member.read(130_000)[10:120_010] == b"middle" * 20_000
    assert len(whole) < MIB
