"""FAT names are assembled from all of their slots; invalid cluster chains are refused."""

import io
import os
import struct
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.errors import HaulbackError, Malformed
from haulback.filesystems.browser import Browser
from haulback.filesystems.parsers.fat_names import CodePage, names
from haulback.filesystems.records import EntryType
from haulback.units import MIB
from tests import shares, volumes
from tests.fats import DIRECTORY, LABEL, Volume, checksum, long_slots, short_slot
from tests.unit.filesystems.test_damage import explored
from tests.unit.repository.scene import MemoryDisk
from tests.volumes import browser, empty, run, tool

pytestmark = pytest.mark.usefixtures("in_this_process")


def by_mcopy(path, files, *options):
    """A FAT16 volume filled by mtools; contents by name."""
    tool("mkfs.vfat"), tool("mcopy")
    run("mkfs.vfat", "--mbr=no", "-F", "16", *options, empty(path / "image"))
    tree = path / "tree"
    tree.mkdir()
    for name, data in files.items():
        (tree / name).write_text(data)
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    command = ["mcopy", "-m", "-i", path / "image", *sorted(tree.iterdir()), "::"]
    subprocess.run(command, env=environment, check=True)
    return path / "image"


def shown(image):
    """The files of the root, contents by name; a tar of the root must hold the same."""
    with browser(image) as result:
        files = {item.name: result.read("vda", f"/{item.name}", 0, MIB).decode()
                 for item in result.listing("vda", "/")}  # fmt: skip
        packed = b"".join(result.archive("vda", ["/"]))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = {
            item.name[2:]: tar.extractfile(item).read().decode() for item in tar if item.isfile()
        }
    assert members == files
    return files


@pytest.mark.parametrize("letter", ["q", "é"])
def test_names_of_255_characters_that_differ_in_their_ends_are_as_many_files(letter, tmp_path):
    if letter == "q":
        files = {letter * 250 + end: end for end in ("-onex", "-twox", "-thrx")}
        assert shown(by_mcopy(tmp_path, files)) == files
    volume, root, files = Volume(16), [], {}
    for end in ("-onex", "-twox", "-thrx"):
        short = b"Q" + end[1:].upper().encode().ljust(7) + b"   "
        root += long_slots(letter * 250 + end, short)
        root.append(short_slot(short, cluster=volume.store(end.encode()), size=5))
        files[letter * 250 + end] = end
    (tmp_path / "made").write_bytes(volume.image(b"".join(root)))
    assert shown(tmp_path / "made") == files
    assert {len(name) for name in files} == {255}


def test_short_names_are_read_in_their_code_page(tmp_path, monkeypatch):
    files = {name: name for name in ("ÅÄÖ.TXT", "ÄÖÜ.TXT", "ÉÈ.DAT")}
    assert shown(by_mcopy(tmp_path, files)) == files
    raw = {"850": b"\x8e\x99\x9a     TXT", "866": b"\x86\x94\x8e     TXT",
           "437": b"\xe4\xea\x8e     TXT", "932": b"\x93\xfa\x96{    TXT",
           "cp1252": b"\xc4\xd6\xdc     TXT"}  # fmt: skip
    names_ = {"850": "ÄÖÜ.TXT", "866": "ЖФО.TXT", "437": "ΣΩÄ.TXT", "932": "日本.TXT",
              "cp1252": "ÄÖÜ.TXT"}  # fmt: skip
    for page, short in raw.items():
        volume = Volume(12)
        root = short_slot(short, cluster=volume.store(b"x"), size=1)
        (tmp_path / "made").write_bytes(volume.image(root))
        monkeypatch.setenv("HAULBACK_FAT_CODE_PAGE", page)
        assert shown(tmp_path / "made") == {names_[page]: "x"}


def test_a_code_page_that_is_none_is_refused_by_the_name_of_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("HAULBACK_FAT_CODE_PAGE", "klingon")
    with (
        browser(empty(tmp_path / "image")) as found,
        pytest.raises(Malformed, match="HAULBACK_FAT_CODE_PAGE: 'klingon' is no known code page"),
    ):
        found.volumes()


def test_bytes_that_are_no_character_are_written_so_that_the_file_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HAULBACK_FAT_CODE_PAGE", "932")
    volume = Volume(12)
    root = [short_slot(b"\x81 A\xeb    TXT", cluster=volume.store(b"x"), size=1)]
    root.append(short_slot(b"\x05X\x81     TXT", cluster=volume.store(b"y"), size=1))
    (tmp_path / "made").write_bytes(volume.image(b"".join(root)))
    files = shown(tmp_path / "made")
    assert sorted(files.values()) == ["x", "y"]
    assert r"\x81 A\xeb.TXT" in files


def test_a_long_name_of_another_file_is_not_taken(tmp_path):
    image = by_mcopy(tmp_path, {"long_name_test.txt": "short"})
    raw = image.read_bytes()
    image.write_bytes(raw.replace(b"LONG_N~1TXT", b"SHORT   TXT"))
    assert shown(image) == {"SHORT.TXT": "short"}


ORPHANS = {
    "the checksum of another": lambda s: long_slots("of another.txt", s, sum_=checksum(s) ^ 1),
    "no beginning": lambda s: long_slots("a name of two slots", s)[1:],
    "no end": lambda s: long_slots("a name of two slots", s)[:-1],
    "a gap": lambda s: [one for i, one in enumerate(long_slots("x" * 39, s)) if i != 1],
    "slots in the wrong order": lambda s: long_slots("x" * 39, s)[::-1],
    "a number of 0": lambda s: [b"\x40" + long_slots("short", s)[0][1:]],
    "21 slots": lambda s: long_slots("x" * 273, s),
    "a free slot within": lambda s: [*long_slots("short", s), b"\xe5" + bytes(31)],
    "a label within": lambda s: [*long_slots("short", s), short_slot(b"LABEL      ", LABEL)],
    "no characters": lambda s: long_slots(b"\0\0" + b"\xff" * 24, s),
}


@pytest.mark.parametrize("orphan", ORPHANS.values(), ids=ORPHANS)
def test_slots_that_belong_to_no_file_leave_it_its_short_name(orphan, tmp_path):
    volume, short = Volume(16), b"SHORT   TXT"
    root = b"".join(orphan(short)) + short_slot(short, cluster=volume.store(b"x"), size=1)
    (tmp_path / "made").write_bytes(volume.image(root))
    assert shown(tmp_path / "made") == {"SHORT.TXT": "x"}


def test_a_file_whose_short_name_is_none_is_shown_by_its_long_one(tmp_path):
    """Systems that avoid short names write a space, NUL and random bytes in their place."""
    volume, root = Volume(16), []
    for name, noise in (
        ("one", b" \0ABCDEFGH/"),
        ("two", b" \0\x01\x02\x03\x04\x05\x06\x07\xff\xfe"),
    ):
        root += long_slots(name, noise)
        root.append(short_slot(noise, cluster=volume.store(name.encode()), size=3))
    root.append(short_slot(b"GOOD    TXT", cluster=volume.store(b"good"), size=4))
    (tmp_path / "made").write_bytes(volume.image(b"".join(root)))
    assert shown(tmp_path / "made") == {"one": "one", "two": "two", "GOOD.TXT": "good"}


def test_no_two_files_share_a_name_and_each_is_read_as_itself(tmp_path):
    """Either the volume has a name twice, or two names become equal when decoded."""
    volume, root = Volume(16), []
    given = [("a/b", b"A1         "), (r"a\x2fb", b"A2         "), ("same", b"A3         "),
             ("same", b"A4         "), ("same~2", b"A5         "), ("same", b"A6         "),
             ("..", b"A7         "), (".", b"A8         ")]  # fmt: skip
    for number, (name, short) in enumerate(given):
        root += long_slots(name, short)
        root.append(short_slot(short, cluster=volume.store(b"%d" % number), size=1))
    for number in (8, 9):
        root.append(short_slot(b"DUP     TXT", cluster=volume.store(b"%d" % number), size=1))
    (tmp_path / "made").write_bytes(volume.image(b"".join(root)))
    expected = {r"a\x2fb": "0", r"a\x2fb~2": "1", "same": "2", "same~2": "4", "same~3": "3"}
    expected |= {"same~4": "5", r"\x2e\x2e": "6", r"\x2e": "7", "DUP.TXT": "8", "DUP.TXT~2": "9"}
    for _ in range(2):
        assert shown(tmp_path / "made") == expected


def test_deleted_files_labels_and_dots_are_not_shown_and_an_end_ends(tmp_path):
    volume = Volume(32)
    short = b"GONE    TXT"
    slots = [b"\xe5" + item[1:] for item in [*long_slots("gone.txt", short), short_slot(short)]]
    dots = [short_slot(b".          ", DIRECTORY), short_slot(b"..         ", DIRECTORY)]
    below = volume.store(b"".join([*dots, short_slot(b"INNER      "), bytes(32), b"GARBAGE" * 9]))
    root = [
        *slots,
        short_slot(b"A LABEL    ", LABEL),
        short_slot(b"SUB        ", DIRECTORY, cluster=below),
    ]
    root += [bytes(32), short_slot(b"BEHIND     ")]
    (tmp_path / "made").write_bytes(volume.image(b"".join(root)))
    with browser(tmp_path / "made") as result:
        assert [(item.name, item.type) for item in result.listing("vda", "/")] == [
            ("SUB", EntryType.DIRECTORY)
        ]
        assert [item.name for item in result.listing("vda", "/SUB")] == ["INNER"]


def chained(bits, change, files=("AAAA",)):
    """A volume with files of five clusters and a changed table; `change(table, clusters)`."""
    volume, root = Volume(bits), []
    for name in files:
        taken = volume.take(5)
        for number, cluster in enumerate(taken):
            at = (cluster - 2) * volume.size
            volume.data[at : at + volume.size] = bytes([65 + number]) * volume.size
        slot = short_slot(name.encode().ljust(11), cluster=taken[0], size=5 * volume.size - 100)
        root.append(slot)
        change(volume, taken)
    return MemoryDisk(volume.image(b"".join(root)))


def table(at, value):
    def change(volume, taken):
        volume.table[taken[at]] = value(volume, taken) if callable(value) else value

    return change


BAD = {
    "leads to a free cluster": (table(2, 0), "leads to 0x0"),
    "leads to what is no cluster": (table(2, 1), "leads to 0x1"),
    "leads beyond the volume": (table(2, lambda v, _: v.count + 2), "does not exist"),
    "leads to a bad cluster": (table(2, lambda v, _: 0x0FFFFFF7 & (1 << v.bits) - 1), "not exist"),
    "leads into itself": (table(2, lambda _, t: t[1]), "leads into itself"),
    "leads to where it is": (table(2, lambda _, t: t[2]), "leads into itself"),
    "ends early": (table(2, lambda v, _: 0x0FFFFFFF & (1 << v.bits) - 1), "a chain of 3 clusters"),
}


@pytest.mark.parametrize("bits", [12, 16, 32])
@pytest.mark.parametrize(("change", "reason"), BAD.values(), ids=BAD)
def test_a_chain_that_does_not_reach_is_named_and_what_it_reaches_is_delivered(
    change, reason, bits
):
    with Browser({"vda": chained(bits, change)}) as result:
        assert result.read("vda", "/AAAA", 0, 3 * 512) == b"A" * 512 + b"B" * 512 + b"C" * 512
        for ask in (
            lambda: result.read("vda", "/AAAA", 0, 3 * 512 + 1),
            lambda: b"".join(result.stream("vda", "/AAAA")),
        ):
            with pytest.raises(Malformed, match=reason):
                ask()
        with tarfile.open(fileobj=io.BytesIO(b"".join(result.archive("vda", ["/"])))) as tar:
            assert "AAAA" in tar.extractfile(tar.getmembers()[-1]).read().decode()


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_the_upper_bits_of_an_entry_of_fat32_and_a_mark_of_the_end_mean_nothing(bits):
    def change(volume, taken):
        volume.table[taken[4]] = 0x0FFFFFF8 if bits == 32 else 0xFF8 if bits == 12 else 0xFFF8
        if bits == 32:
            volume.table[taken[1]] |= 0xF0000000

    with Browser({"vda": chained(bits, change)}) as found:
        whole = b"".join(bytes([65 + number]) * 512 for number in range(5))[:-100]
        assert b"".join(found.stream("vda", "/AAAA")) == whole


def test_a_folder_whose_chain_is_broken_shows_what_it_reaches(tmp_path):
    volume = Volume(16)
    slots = b"".join(short_slot(b"FILE%03d    " % number) for number in range(64))
    first = volume.store(slots)
    second = volume.table[first]
    volume.table[second] = first
    root = short_slot(b"SUB        ", DIRECTORY, cluster=first)
    root += short_slot(b"NONE       ", DIRECTORY, cluster=0)
    with Browser({"vda": MemoryDisk(volume.image(root))}) as result:
        page = result.listing("vda", "/SUB")
        assert [item.name for item in page] == [f"FILE{number:03d}" for number in range(32)]
        assert "leads into itself" in page.reason
        with pytest.raises(Malformed, match="no cluster"):
            result.listing("vda", "/NONE")


def test_a_folder_that_is_its_own_parent_ends():
    volume = Volume(16)
    cluster = volume.take(1)[0]
    at = (cluster - 2) * 512
    volume.data[at : at + 64] = short_slot(b"SUB        ", DIRECTORY, cluster=cluster) + short_slot(
        b"LEAF       "
    )
    root = short_slot(b"SUB        ", DIRECTORY, cluster=cluster)
    with Browser({"vda": MemoryDisk(volume.image(root))}) as result:
        with tarfile.open(fileobj=io.BytesIO(b"".join(result.archive("vda", ["/"])))) as tar:
            members = [item.name for item in tar]
        assert len(members) < 10
        assert "./SUB/LEAF" in members


def a_slot(first, text, attributes, sum_, rest):
    return bytes([first]) + text + bytes([attributes, 0, sum_]) + rest


slots = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.builds(
        a_slot,
        st.sampled_from([0x00, 0x01, 0x02, 0x05, 0x41, 0x42, 0x43, 0x54, 0x55, 0xE5, 0x20, 0x2E]),
        st.binary(min_size=10, max_size=10),
        st.sampled_from([0x0F, 0x10, 0x20, 0x08, 0x00, 0xFF]),
        st.integers(0, 255),
        st.binary(min_size=18, max_size=18),
    ),
)  # fmt: skip


@given(st.lists(slots, max_size=40), st.sampled_from(["cp850", "cp932", "cp866"]))
def test_any_slots_are_names_that_a_path_can_hold(given_, page):
    found = list(names(((32 * at, slot) for at, slot in enumerate(given_)), CodePage(page)))
    for one in found:
        assert one.name
        assert one.name not in (b".", b"..")
        assert not set(one.name) & {0, 47}
        assert len(one.name) <= 1024
        one.name.decode("utf-8", "surrogatepass")
    assert len({one.offset for one in found}) == len(found)


@given(st.lists(slots, max_size=30), st.lists(st.integers(0, 0xFFF), min_size=8, max_size=60))
@settings(max_examples=shares.cases("hostile").count, deadline=None)
def test_any_directory_and_any_table_give_data_or_errors_in_time(given_, entries):
    volume = Volume(12, count=60)
    volume.table[2 : 2 + len(entries)] = entries
    data = b"".join(given_)
    volume.data[: len(data)] = data
    volume.data[len(data) : 2 * len(data)] = data
    root = b"".join(short_slot(b"D%d         " % n, DIRECTORY, cluster=n) for n in range(2, 6))
    explored(volume.image(root + data))


@given(st.binary(min_size=90, max_size=90))
@settings(max_examples=shares.cases("hostile").count, deadline=None)
def test_any_boot_sector_gives_data_or_errors_in_time(noise):
    volume = Volume(16)
    image = bytearray(volume.image(short_slot(b"A          ", cluster=2, size=10)))
    for at, byte in enumerate(noise):
        if byte < 64 and at >= 11:
            image[at] = byte
    explored(image)


def test_a_fat_of_many_cluster_sizes_is_read_by_its_runs(tmp_path):
    """mkfs makes the volume and mtools fills it; contents are given as ranges of the disk."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "big").write_bytes(os.urandom(3 * MIB + 5))
    for kind, clusters, tables in (("12", 64, 1), ("16", 4, 4), ("32", 1, 3)):
        form = ("-F", kind, "-s", str(clusters), "-f", str(tables))
        image = volumes.fat(tmp_path / f"f{kind}", tree, *form)
        if kind == "16":  # as Atari writes it: only the name of the type marks the sector
            with open(image, "r+b") as disk:
                disk.write(b"\x60\x1c")
                disk.seek(510)
                disk.write(b"\0\0")
        with browser(image) as reader:
            assert b"".join(reader.stream("vda", "/big")) == (tree / "big").read_bytes()
            assert reader.volumes()[0].type == f"fat{kind}"


def test_only_one_table_of_a_fat32_may_be_the_active_one():
    volume = Volume(32)
    data = os.urandom(2000)
    root = short_slot(b"A          ", cluster=volume.store(data), size=len(data))
    image = bytearray(volume.image(root))
    length = struct.unpack_from("<I", image, 36)[0] * 512
    start = 32 * 512
    second = bytes(image[start + length : start + 2 * length])
    image[start : start + length] = bytes(length)
    struct.pack_into("<H", image, 40, 0x81)
    assert second.strip(b"\0")
    with Browser({"vda": MemoryDisk(bytes(image))}) as result:
        assert b"".join(result.stream("vda", "/A")) == data
    struct.pack_into("<H", image, 40, 0)
    with Browser({"vda": MemoryDisk(bytes(image))}) as result, pytest.raises(HaulbackError):
        b"".join(result.stream("vda", "/A"))
