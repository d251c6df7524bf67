"""A volume names the features of its superblock, and is readable only if its root was opened."""

from __future__ import annotations

import struct

import pytest

from haulback.filesystems.parsers.detect import detect
from haulback.filesystems.parsers.fat_names import CodePage
from haulback.filesystems.parsers.volumes import find
from haulback.filesystems.records import Volume
from haulback.units import KIB, MIB
from tests.unit.filesystems.test_partitions import Memory
from tests.volumes import empty, needs_ext, run, tool


def only_volume(data: bytes | bytearray) -> Volume:
    [found] = find({"vda": Memory(bytes(data))}, CodePage("cp850")).values()
    return found.volume


@needs_ext
@pytest.mark.parametrize(
    ("options", "features"),
    [
        (("-O", "^has_journal,casefold,encrypt,inline_data,verity"),
         {"casefold", "encrypt", "inline_data", "verity"}),
        (("-O", "bigalloc,quota,project,ea_inode"), {"bigalloc", "quota", "project", "ea_inode"}),
        ((), set()),
    ],
    ids=["of files", "of space", "none"],
)  # fmt: skip
def test_an_ext4_names_the_features_of_its_files(options, features, tmp_path):
    image = empty(tmp_path / "image", 8 * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", *options, image)
    volume = only_volume(image.read_bytes())
    assert volume.readable
    assert set(volume.features) == features


@needs_ext
def test_a_feature_without_reader_is_refused_by_its_name(tmp_path):
    image = empty(tmp_path / "image", 4 * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", image)
    data = bytearray(image.read_bytes())
    data[1024 + 96] |= 0x01
    volume = only_volume(data)
    assert (volume.readable, volume.reason) == (False, "ext4 with compression cannot be read")
    data[1024 + 96 + 3] |= 0x80
    assert "compression, 0x80000000" in only_volume(data).reason


@needs_ext
def test_a_volume_whose_root_cannot_be_opened_is_not_readable(tmp_path):
    image = empty(tmp_path / "image", 4 * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", image)
    data = bytearray(image.read_bytes())
    data[2048 : 256 * KIB] = bytes(254 * KIB)
    volume = only_volume(data)
    assert volume.readable is False
    assert "root" in volume.reason
    cut = only_volume(image.read_bytes()[: 3 * MIB])
    assert cut.readable
    assert "larger than its volume" in cut.reason


def test_a_btrfs_names_compression_and_profile(tmp_path):
    image = empty(tmp_path / "image", 128 * MIB)
    run(tool("mkfs.btrfs"), "-q", "-L", "data", "-m", "dup",
        image)  # fmt: skip
    with open(image, "rb") as file:
        head = bytearray(file.read(70 * KIB))
    head[0x10000 + 0xBC] |= 0x10
    struct.pack_into("<Q", head, 0x10000 + 0x88, 3)
    volume = only_volume(head)
    assert (volume.type, volume.label, volume.readable) == ("btrfs", "data", False)
    assert volume.features == ("zstd compression", "DUP", "3 devices")
    assert "zstd compression" in volume.reason


LUKS1 = b"LUKS\xba\xbe\0\1aes" + bytes(29) + b"xts-plain64"
LUKS2 = (b"LUKS\xba\xbe\0\2" + bytes(16) + b"secret".ljust(4072, b"\0")
         + b'{"segments":{"0":{"encryption":"aes-xts-plain64"}}}')  # fmt: skip
TO_GO = b"\xeb\x58\x90MSWIN4.1".ljust(424, b"\0") + bytes.fromhex(
    "3bd66749292ed84a8399f6a339e3d001"
)


@pytest.mark.parametrize(
    ("data", "type_", "word"),
    [
        (LUKS1, "luks", "LUKS1, aes-xts-plain64"),
        (LUKS2, "luks", "LUKS2, aes-xts-plain64"),
        (TO_GO, "bitlocker", "encrypted"),
        (bytes(4096) + b"SPACEDB ", "storage_spaces", "Storage Spaces pool"),
        (bytes(1024) + b"H+\0\4", "hfsplus", "cannot read hfsplus"),
        (bytes(1030) + b"\x34\x34", "nilfs2", "cannot read nilfs2"),
        (bytes(16404) + b"\0\0\0\7version\0", "zfs", "cannot read zfs"),
        (b"bluestore block device\n", "ceph_bluestore", "a part of a Ceph BlueStore"),
        (b"SnAp\1\0\0\0", "snapshot_cow", "changes of a snapshot"),
    ],
)
def test_contents_without_reader_are_named(data, type_, word):
    known = detect(Memory(data.ljust(80 * KIB, b"\0")))
    assert known is not None
    assert (known.type, known.readable) == (type_, False)
    assert word in known.reason


def test_an_xfs_names_what_it_is_refused_for():
    head = bytearray(80 * KIB)
    struct.pack_into(">4sIQQ", head, 0, b"XFSB", 4096, 20, 8)
    struct.pack_into(">H", head, 100, 5)
    struct.pack_into(">II", head, 212, 0x4, 0x100)
    volume = only_volume(head)
    assert set(volume.features) == {"realtime", "reflink", "metadir"}
    assert volume.reason == "XFS with metadir cannot be read"


def test_an_ntfs_of_large_clusters_says_so():
    head = bytearray(80 * KIB)
    struct.pack_into("<3x8sHB", head, 0, b"NTFS    ", 512, 0xF4)
    known = detect(Memory(head))
    assert known is not None
    assert known.features == ("clusters of 2048 KiB",)
