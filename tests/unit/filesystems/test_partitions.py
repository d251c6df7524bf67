"""Partitions are found in tables of both kinds and any sector size, or the listing gives the
reason.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.filesystems.parsers.blocks import BlockLocation, within
from haulback.filesystems.parsers.fat_names import CodePage
from haulback.filesystems.parsers.lvm import Physical, groups
from haulback.filesystems.parsers.partitions import Layout, layout
from haulback.filesystems.parsers.queries import QueryHandler
from haulback.filesystems.parsers.volumes import find
from haulback.filesystems.records import ListVolumes, VolumesFound
from haulback.filesystems.sandbox_main import answer
from haulback.units import KIB, MIB
from tests import shares
from tests.unit.filesystems.readers import passed_on

SIZE = 16 * MIB


class Memory:
    """A disk in memory."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = bytearray(data), len(data)

    def read(self, offset: int, count: int) -> bytes:
        within(self, offset, count)
        return bytes(self.data[offset : offset + count])

    def places(self, offset: int, count: int):
        yield BlockLocation(0, offset, count)

    def put(self, offset: int, data: bytes) -> Memory:
        self.data[offset : offset + len(data)] = data
        return self


def mbr(disk: Memory, entries: Sequence[tuple[int, int, int]], at: int = 0) -> Memory:
    """Entries (type, start, count in sectors) in a boot record at byte `at`."""
    for number, (type_, start, count) in enumerate(entries):
        disk.put(at + 446 + 16 * number, struct.pack("<B3xB3xII", 0, type_, start, count))
    return disk.put(at + 510, b"\x55\xaa")


def gpt(
    disk: Memory,
    parts: Sequence[tuple[int, int]],
    sector: int = 512,
    last: int = 0,
    type_: bytes = b"t" * 16,
) -> Memory:
    """A GPT with both copies, parts (first, last sector); the spare ends in sector `last`."""
    last = last or disk.size // sector - 1
    entries = b"".join(struct.pack("<16s16sQQ80x", type_, uuid.uuid4().bytes, *part)
                       for part in parts).ljust(128 * 128, b"\0")  # fmt: skip
    for own, other, start in ((1, last, 2), (last, 1, last - len(entries) // sector)):
        fields = (own, other, 34, last - 34, b"g" * 16, start, 128, 128, crc32(entries))
        head = bytearray(struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 65536, 92, 0, 0, *fields))
        head[16:20] = struct.pack("<I", crc32(head))
        disk.put(own * sector, bytes(head)).put(start * sector, entries)
    return mbr(disk, [(0xEE, 1, last)])


def found(disk: Memory, *known: int) -> dict[int, tuple[int, int]]:
    """Partitions of a disk that has known contents at the offsets `known`."""
    return shown(layout(disk, known.__contains__))


def shown(result: Layout) -> dict[int, tuple[int, int]]:
    assert not result.reason
    return {item.number: (item.offset, item.length) for item in result.partitions}


def stale_fat(disk: Memory) -> Memory:
    head = struct.pack("<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"mkfs.fat", 512, 4, 4, 2, 512, 0,
                       0xF8, 32, 32, 2, 0, SIZE // 512)  # fmt: skip
    return disk.put(0, head)


def stale_ntfs(disk: Memory) -> Memory:
    return disk.put(3, b"NTFS    ")


@pytest.mark.parametrize("stale", [stale_fat, stale_ntfs])
def test_sound_entries_are_a_table_over_the_fields_of_a_former_file_system(stale):
    disk = mbr(stale(Memory(bytes(SIZE))), [(0x83, 2048, 8192), (0x0C, 10240, 4096)])
    assert found(disk) == {1: (MIB, 4 * MIB), 2: (5 * MIB, 2 * MIB)}
    assert found(gpt(stale(Memory(bytes(SIZE))), [(2048, 4095)])) == {1: (MIB, MIB)}


@pytest.mark.parametrize(
    "entries",
    [
        [(0x0C, 0, 4096)],
        [(0x83, 2048, 4096), (0x83, 4096, 4096)],
        [(0, 63, 4096)],
        [(0x83, 1 << 30, 4096)],
        [],
    ],
    ids=["of the whole disk", "overlapping", "without a type", "beyond the disk", "empty"],
)
def test_entries_that_are_no_table_leave_the_file_system(entries):
    assert found(mbr(stale_fat(Memory(bytes(SIZE))), entries)) == {}


def test_the_sectors_of_an_mbr_are_those_at_which_something_lies():
    disk = mbr(Memory(bytes(SIZE)), [(0x83, 256, 512), (0x83, 1024, 512)])
    small, large = {1: (128 * KIB, 256 * KIB)}, {1: (MIB, 2 * MIB)}
    assert found(disk, 512 * KIB) == small | {2: (512 * KIB, 256 * KIB)}
    assert found(disk, MIB) == large | {2: (4 * MIB, 2 * MIB)}
    assert found(disk) == found(disk, 512 * KIB)


def test_logical_partitions_of_large_sectors_are_found():
    disk = mbr(Memory(bytes(SIZE)), [(0x05, 256, 2048)])
    mbr(disk, [(0x83, 16, 100), (0x05, 512, 600)], 256 * 4096)
    mbr(disk, [(0x83, 16, 200)], 768 * 4096)
    assert found(disk, 272 * 4096) == {5: (272 * 4096, 100 * 4096), 6: (784 * 4096, 200 * 4096)}


PARTS = [(2048, 4095), (8192, 1 << 20)]


def wiped(disk: Memory, low: int, high: int) -> Memory:
    return disk.put(low, bytes(high - low))


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize(
    "harm",
    [
        lambda disk, _: disk,
        lambda disk, sector: wiped(disk, sector, 40 * sector),
        lambda disk, sector: disk.put(sector + 40, b"\xff"),
        lambda disk, sector: disk.put(2 * sector + 32, b"\xff"),
        lambda disk, sector: wiped(disk, disk.size - sector, disk.size),
        lambda disk, _: wiped(disk, 0, 512),
        lambda disk, sector: wiped(wiped(disk, 0, 512), sector, 2 * sector),
        lambda disk, sector: disk.put(sector + 72, b"\xff" * 8),
    ],
    ids=["none", "primary gone", "header", "entries", "spare gone", "protective MBR", "both first",
         "place of the entries"],
)  # fmt: skip
def test_a_gpt_is_read_from_the_copy_that_is_sound(harm, sector):
    disk = harm(gpt(Memory(bytes(SIZE)), PARTS, sector), sector)
    due = {number: (low * sector, (high - low + 1) * sector)
           for number, (low, high) in enumerate(PARTS, 1)}  # fmt: skip
    assert found(disk) == due


def test_the_spare_of_a_disk_that_has_grown_is_found_where_the_disk_ended():
    disk = gpt(Memory(bytes(2 * SIZE)), PARTS, last=SIZE // 512 - 1)
    assert found(wiped(disk, 512, 1024))[1] == (MIB, MIB)
    disk = gpt(Memory(bytes(2 * SIZE)), PARTS, last=SIZE // 512 - 1)
    disk.put(446 + 12, b"\xff" * 4).put(520, b"?")  # the protective MBR covers all disks
    assert found(disk)[1] == (MIB, MIB)


def test_a_gpt_whose_copies_are_both_damaged_is_named_and_read_as_it_stands():
    disk = gpt(Memory(bytes(SIZE)), PARTS).put(1024 + 32, b"\xff").put(SIZE - 512 + 60, b"\xff")
    result = layout(disk, lambda _: False)
    assert "checksums" in result.reason
    assert len(result.partitions) == len(PARTS)
    disk = gpt(Memory(bytes(SIZE)), PARTS).put(512, b"?").put(SIZE - 512, b"?")
    assert "neither of its copies" in layout(disk, lambda _: False).reason
    volumes = find({"vda": disk}, CodePage("cp850"))
    assert [(item.volume.name, item.volume.readable) for item in volumes.values()] == [
        ("vda", False)
    ]


def test_contents_without_a_protective_mbr_are_newer_than_a_spare_gpt():
    disk = wiped(gpt(Memory(bytes(SIZE)), PARTS), 0, 1024)
    assert found(disk, 0) == {}


def test_logical_partitions_that_are_lost_are_named_beside_the_others():
    disk = mbr(Memory(bytes(SIZE)), [(0x83, 2048, 2048), (0x05, 8192, 8192)])
    reasons = []
    for link in (8192, 0, 1 << 30):
        mbr(disk, [(0x83, 8, 1000), (0x05, link, 1)], 8192 * 512)
        result = layout(disk, lambda _: False)
        assert [item.number for item in result.partitions][:2] == [1, 5]
        reasons.append(result.reason)
    assert all("logical partitions" in reason for reason in reasons)
    names = [*find({"sda": disk}, CodePage("cp850"))]
    assert names == ["sda", "sda1", "sda5"]


@pytest.mark.parametrize("table", ["mbr", "gpt"])
def test_partitions_past_the_end_of_a_disk_are_listed_with_the_reason(table):
    disk = Memory(bytes(SIZE))
    if table == "mbr":
        mbr(disk, [(0x83, 30000, 8192), (0x83, 60000, 8192)])
    else:
        gpt(disk, [(30000, 38191), (60000, 68191)])
    across, beyond = (item.volume for item in find({"vda": disk}, CodePage("cp850")).values())
    assert across.size == SIZE - 30000 * 512
    assert "past the end of the disk" in across.reason
    assert beyond.readable is False
    assert "begins past the end" in beyond.reason


@given(st.data())
@settings(max_examples=shares.cases("files").count)
def test_any_table_is_partitions_or_reasons(data):
    disk = Memory(bytes(64 * KIB))
    for at in data.draw(
        st.lists(st.sampled_from([446, 512, 4096, 1024, 65024, 61440]), max_size=3)
    ):
        disk.put(at, data.draw(st.sampled_from([b"", b"EFI PART"])))
        noise = data.draw(st.binary(max_size=64))
        disk.put(at + 8, noise[: disk.size - at - 8])
    disk.put(510, b"\x55\xaa")
    for item in layout(disk, lambda _: False).partitions:
        assert item.length > 0


def test_logical_partitions_are_numbered_as_linux_numbers_them():
    disk = mbr(Memory(bytes(SIZE)), [(0x05, 2048, 8192), (0x83, 12288, 64), (0x0F, 16384, 4096)])
    mbr(disk, [(0, 0, 0), (0x05, 1000, 900)], 2048 * 512)  # a record whose partition was removed
    mbr(disk, [(0x05, 3000, 900), (0x83, 63, 100)], 3048 * 512)  # the link stands first
    mbr(disk, [(0x83, 63, 200)], 5048 * 512)
    mbr(disk, [(0x83, 63, 300)], 16384 * 512)  # a second extended partition goes on counting
    sectors = {5: (3111, 100), 6: (5111, 200), 2: (12288, 64), 7: (16447, 300)}
    assert found(disk) == {key: (at * 512, count * 512) for key, (at, count) in sectors.items()}


def test_a_partition_that_begins_at_sector_0_is_listed_beside_the_others():
    disk = mbr(Memory(bytes(SIZE)), [(0x17, 0, 8192), (0xEF, 64, 128)])  # as on a bootable ISO
    disk.put(32769, b"CD001")
    volumes = [item.volume for item in find({"vda": disk}, CodePage("cp850")).values()]
    assert [(item.name, item.type) for item in volumes] == [
        ("vda1", "iso9660"),
        ("vda2", "unknown"),
    ]
    assert volumes[1].reason == "the partition overlaps vda1; the contents are unknown"


@pytest.mark.parametrize("table", ["mbr", "gpt"])
def test_partitions_that_overlap_are_listed_with_a_caution(table):
    disk, parts = Memory(bytes(SIZE)), [(2048, 4095), (8192, 9000), (4000, 8191), (9001, 9100)]
    if table == "mbr":
        mbr(disk, [(0x83, first, last - first + 1) for first, last in parts])
    else:
        gpt(disk, parts)
    volumes = [item.volume for item in find({"nvme0n1": disk}, CodePage("cp850")).values()]
    cautions = [item.reason.partition("; ")[0] for item in volumes]
    assert cautions[0] == "the partition overlaps nvme0n1p3"
    assert cautions[2] == "the partition overlaps nvme0n1p1"
    assert "overlaps" not in cautions[1] + cautions[3]


LDM = uuid.UUID("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3").bytes_le


@pytest.mark.parametrize("table", ["mbr", "gpt"])
def test_a_dynamic_disk_of_windows_is_named(table):
    disk = Memory(bytes(SIZE))
    if table == "mbr":
        mbr(disk, [(0x42, 63, 16384)])
    else:
        gpt(disk, [(2048, 4095)], type_=LDM)
    first, *_ = (item.volume for item in find({"vda": disk}, CodePage("cp850")).values())
    assert (first.name, first.readable) == ("vda", False)
    assert "dynamic disk of Windows" in first.reason


def test_a_disk_of_unknown_contents_is_listed_and_an_empty_one_is_not():
    full = Memory(bytes(SIZE)).put(MIB - 1, b"x")
    [one] = find({"vda": full, "vdb": Memory(bytes(SIZE))}, CodePage("cp850")).values()
    assert (one.volume.name, one.volume.readable) == ("vda", False)
    assert one.volume.reason == "the contents are unknown"


def test_a_disk_with_an_unreadable_spot_hides_no_other_disk():
    class Worn(Memory):
        def read(self, offset: int, count: int) -> bytes:
            if offset <= 700_000 < offset + count:
                raise OSError("a chunk is lost")
            return super().read(offset, count)

    full = Memory(bytes(SIZE)).put(MIB - 1, b"x")
    volumes = find({"vda": full, "vdb": Worn(bytes(SIZE))}, CodePage("cp850")).values()
    assert [item.volume.name for item in volumes] == ["vda", "vdb"]


@pytest.mark.parametrize(
    ("at", "mark", "reason"),
    [
        (510, b"\x55\xaa", "its partition table (MBR) has no partitions"),
        (508, b"\xda\xbe", "Haulback cannot read the kind of its partition table (Sun)"),
        (512, b"PM\0\0", "Haulback cannot read the kind of its partition table (Apple)"),
    ],
)
def test_a_disk_without_partitions_names_its_table(at: int, mark: bytes, reason: str):
    empty = gpt(Memory(bytes(SIZE)), [])
    disks = {"vda": Memory(bytes(SIZE)).put(at, mark), "vdb": empty}
    reasons = [item.volume.reason for item in find(disks, CodePage("cp850")).values()]
    assert reasons == [reason, "its partition table (GPT) has no partitions"]


FAR = st.one_of(st.integers(0, 200), st.integers(0, (1 << 64) - 1), st.just((1 << 64) - 1))


@given(st.lists(st.tuples(FAR, FAR), min_size=1, max_size=8), st.sampled_from([512, 4096]))
@settings(max_examples=shares.cases("files").count)
def test_any_entry_of_a_gpt_hides_no_other_volume(parts, sector):
    disk = gpt(Memory(bytes(256 * KIB)), parts, sector, 256 * KIB // sector - 1)
    told = passed_on(answer(QueryHandler({"vda": disk}), ListVolumes()))
    due = [f"vda{number}" for number, (first, last) in enumerate(parts, 1) if first <= last]
    assert isinstance(told, VolumesFound)
    assert [volume.name for volume in told.volumes] == (due or ["vda"] * bool(told.volumes))


TEXT = """vg0 {{ id = "G" seqno = {seqno} status = ["RESIZEABLE"] extent_size = 8
physical_volumes {{ pv0 {{ id = "a-a" pe_start = 8 }} pv1 {{ id = "b-b" pe_start = 8 }} }}
logical_volumes {{
root {{ id = "r" status = ["VISIBLE"] segment_count = 1
segment1 {{ extent_count = 4 type = "striped" stripe_count = 1 stripes = ["pv0", 0] }} }}
wide {{ id = "w" status = ["VISIBLE"] segment_count = 2
segment1 {{ extent_count = 2 type = "striped" stripe_count = 1 stripes = ["pv0", 4] }}
segment2 {{ extent_count = 2 type = "striped" stripe_count = 1 stripes = ["pv1", 0] }} }} }} }}"""


def part(id_: str, disk: str, seqno: int = 3, text: str = TEXT) -> Physical:
    content = bytes([ord(disk[-1])]) * 64 * KIB
    return Physical(id_ * 2, Memory(content), disk, text.format(seqno=seqno).encode())


def places(*parts: Physical) -> list[tuple[str, tuple[str, ...], str]]:
    volumes, rest = groups(parts)
    assert not rest
    for volume in volumes:
        if volume.blocks and volume.name == "vg0/wide":
            letters = "".join(disk[-1] for disk in volume.disks).encode()
            assert set(volume.blocks.read(0, volume.blocks.size)) == set(letters)
    return [(volume.name, volume.disks, volume.reason) for volume in volumes]


@pytest.mark.parametrize("store", ["cow_store", "merging_store"])
def test_the_changes_of_a_snapshot_are_named_and_its_origin_is_read(store: str):
    """The metadata of LVM has the changes as a visible volume, and their origin in a hidden one."""
    hidden = (
        'snapshot0 {{ id = "s" status = ["READ"] segment_count = 1 segment1 {{ extent_count = 4'
        ' type = "snapshot" chunk_size = 8 origin = "root" STORE = "wide" }} }} }} }}'
    ).replace("STORE", store)
    text = TEXT[: TEXT.rindex("}} }}")] + hidden
    volumes, rest = groups([part("a", "vda", text=text), part("b", "vdb", text=text)])
    assert [(volume.name, volume.blocks is None) for volume in volumes] == [
        ("vg0/root", False),
        ("vg0/wide", True),
    ]
    assert volumes[1].reason.startswith("a snapshot of vg0/root: it holds changes only")
    assert not rest


def test_both_copies_of_a_group_are_listed_each_with_its_own_disks():
    ours, theirs = ("vda", "vdb"), ("vdc", "vdd")
    due = [("vg0/root", ("vda",), ""), ("vg0/wide", ours, ""), ("vg0/root", ("vdc",), ""),
           ("vg0/wide", theirs, "")]  # fmt: skip
    assert places(part("a", "vda"), part("b", "vdb"), part("a", "vdc"), part("b", "vdd")) == due


def test_metadata_tells_which_parts_of_two_copies_belong_together():
    mixed = part("a", "vda", 7), part("b", "vdb", 5), part("a", "vdc", 5), part("b", "vdd", 7)
    disks = [disks for name, disks, _ in places(*mixed) if name == "vg0/wide"]
    assert disks == [("vda", "vdd"), ("vdc", "vdb")]


def test_a_part_that_only_one_copy_has_is_shared_with_a_caution():
    result = places(part("a", "vda"), part("b", "vdb"), part("a", "vdc"))
    assert [disks for _, disks, _ in result] == [
        ("vda",), ("vda", "vdb"), ("vdc",), ("vdc", "vdb")]  # fmt: skip
    assert [bool(reason) for _, _, reason in result] == [False, False, False, True]
    assert "share pv1, which the disks hold only once" in result[-1][2]


def test_parts_of_one_copy_with_older_metadata_or_none_stay_together():
    for other in (part("b", "vdb", 2), part("b", "vdb", text="")):
        assert len(places(part("a", "vda"), other)) == 2


def test_a_group_that_is_damaged_or_cut_off_hides_nothing_of_the_others():
    good = part("a", "vda"), part("b", "vdb")
    short = part("b", "vdc")._replace(blocks=Memory(b"c" * 8 * KIB))
    broken, alone = part("c", "vdd", text="vg {{"), part("d", "vde", text="")
    numbered = TEXT.replace('"G"', '"H"').replace('"a-a"', "1").replace('"b-b"', '"e-e"')
    absurd = part("e", "vdf", text=numbered)
    listless = part("f", "vdg", text='vg {{ extent_size = 8 seqno = 1 physical_volumes = "f" }}')
    volumes, rest = groups([*good, broken, alone, short])
    for odd in (absurd, listless):
        assert [volume.name for volume in groups([*good, odd])[0]] == ["vg0/root", "vg0/wide"]
    assert [volume.name for volume in volumes][:2] == ["vg0/root", "vg0/wide"]
    assert "past the end of vdc" in volumes[-1].reason
    assert [(item.disk, bool(error)) for item, error in rest] == [("vdd", True), ("vde", False)]
