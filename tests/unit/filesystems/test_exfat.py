"""Files of exFAT are entry sets with a checksum; a damaged set is reported and not used."""

import io
import struct
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.errors import HaulbackError, Unsupported
from haulback.filesystems.browser import Browser
from haulback.filesystems.report import NAME
from tests import shares
from tests.exfats import END, LABEL, Volume, file_set, generated, summed
from tests.unit.filesystems.test_damage import explored
from tests.unit.repository.scene import MemoryDisk

pytestmark = pytest.mark.usefixtures("in_this_process")


def reading(image):
    return Browser({"vda": MemoryDisk(bytes(image))})


def shown(found, path="/"):
    return {one.name: found.read("vda", f"{path.rstrip('/')}/{one.name}", 0, 1 << 20)
            for one in found.listing("vda", path, most=10_000)}  # fmt: skip


def members(found, paths=("/",)):
    with tarfile.open(fileobj=io.BytesIO(b"".join(found.archive("vda", list(paths))))) as tar:
        return {one.name: tar.extractfile(one).read() if one.isfile() else None for one in tar}


def test_generated_directories_are_shown_as_their_slots_say():
    volume, image = generated(60, 7)
    with reading(image) as found:
        for name, kept in volume.folders:
            assert shown(found, f"/{name}") == {one.name: one.data for one in kept}


def test_names_of_255_characters_that_differ_in_their_ends_are_as_many_files():
    volume, files = Volume(), {}
    for letter in ("q", "é", "日"):
        files |= {letter * 250 + end: end.encode() for end in ("-onex", "-twox", "-thrx")}
    root = b"".join(
        file_set(name, volume.store(data)[0], len(data)) for name, data in files.items()
    )
    with reading(volume.image(root)) as found:
        assert shown(found) == files


def test_what_is_not_written_of_a_file_are_zeros_and_unknown_slots_are_passed_over():
    volume = Volume()
    vendor = bytes([0xE0]) + bytes(31)
    cluster, _ = volume.store(b"x" * 3000)
    root = file_set("half", cluster, 3000, written=700, more=[vendor, vendor])
    item, _ = volume.store(b"y" * 3000, chained=False)
    root += file_set("piece", item, 3000, chained=False, written=513)
    root += file_set("nothing", volume.store(b"z" * 600)[0], 600, written=0)
    with reading(volume.image(root)) as result:
        assert shown(result) == {
            "half": b"x" * 700 + bytes(2300),
            "piece": b"y" * 513 + bytes(3000 - 513),
            "nothing": bytes(600),
        }
        entry = result.entry("vda", "/half")
        assert (entry.mode, entry.modified) == (0o755, 1_704_110_401_500 - 3_600_000)


def test_the_label_of_the_volume_is_read():
    label = struct.pack("<BB22s8x", LABEL, 6, "Größe1".encode("utf-16-le"))
    with reading(Volume().image(label)) as found:
        assert found.volumes()[0].label == "Größe1"
        assert found.listing("vda", "/") == []


def broken_checksum(slots):
    return slots[:40] + bytes([slots[40] ^ 1]) + slots[41:]


BROKEN = {
    "a checksum of others": (broken_checksum, "checksum"),
    "a name of other characters": (lambda s: s[:70] + b"?" + s[71:], "checksum"),
    "a name without its end": (lambda s: s[:-32], "is incomplete"),
    "no place": (lambda s: s[:32] + s[64:], "is incomplete"),
    "the name before the place": (lambda s: s[:32] + s[64:96] + s[32:64] + s[96:], "is incomplete"),
    "nothing but the beginning": (lambda s: s[:32], "is incomplete"),
    "more written than there is": (
        lambda s: summed([s[:40] + b"\xff" * 8 + s[48:]]),
        "exceeds its size",
    ),
}


@pytest.mark.parametrize(("change", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_set_that_is_broken_is_named_and_the_others_are_delivered(change, reason):
    volume = Volume()
    bad = change(file_set("bad file of some length", volume.store(b"b")[0], 1))
    good = [file_set(name, volume.store(name.encode())[0], 4) for name in ("good", "fine")]
    with reading(volume.image(good[0] + bad + good[1])) as result:
        entries = result.listing("vda", "/")
        assert len(entries) == 3
        (item,) = [entry for entry in entries if not entry.readable]
        assert reason in item.reason
        with pytest.raises(Unsupported, match=reason):
            result.read("vda", f"/{item.name}", 0, 1)
        packed = members(result)
        assert (packed["./good"], packed["./fine"]) == (b"good", b"fine")
        assert reason in packed[f"{NAME}.txt"].decode()
        assert f"./{item.name}" not in packed


def test_a_folder_whose_set_is_broken_is_named():
    volume = Volume()
    inner = file_set("inner", volume.store(b"x")[0], 1).ljust(512, b"\0")
    bad = broken_checksum(file_set("sub", volume.store(inner)[0], 512, folder=True))
    with reading(volume.image(bad)) as found:
        assert "checksum" in members(found)[f"{NAME}.txt"].decode()


@pytest.mark.parametrize(
    ("where", "reason"),
    [(0, "does not exist"), (1, "does not exist"), (END - 8, "not exist"), (END, "a chain of 2")],
)
def test_a_chain_that_does_not_reach_is_named(where, reason):
    volume = Volume()
    cluster, _ = volume.store(b"x" * 2000)
    volume.table[volume.table[cluster]] = where
    far = file_set("far", 19_999, 1 << 40, chained=False)
    with reading(volume.image(file_set("cut", cluster, 2000) + far)) as result:
        assert result.read("vda", "/cut", 0, 1024) == b"x" * 1024
        with pytest.raises(HaulbackError, match=reason):
            result.read("vda", "/cut", 0, 1025)
        with pytest.raises(HaulbackError, match="does not exist"):
            result.read("vda", "/far", 1 << 30, 10)


def test_a_set_goes_on_in_the_next_cluster_of_its_folder():
    """Both in a cluster chain and in a contiguous folder."""
    volume, root, files = Volume(), b"", {}
    for chained in (True, False):
        inner = b""
        for number in range(20):
            name = f"{number}-{'n' * (number * 12)}"
            inner += file_set(name, volume.store(name.encode())[0], len(name))
            files[name] = name.encode()
        inner = inner.ljust(-(-len(inner) // 512) * 512, b"\0")
        cluster, _ = volume.store(inner, chained=chained)
        root += file_set(f"sub{chained}", cluster, len(inner), chained=chained, folder=True)
    with reading(volume.image(root)) as result:
        assert shown(result, "/subTrue") == shown(result, "/subFalse") == files


slots = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.builds(
        lambda first, rest: bytes([first]) + rest,
        st.sampled_from([0x85, 0xC0, 0xC1, 0x81, 0x83, 0xE0, 0x05, 0x41, 0x00]),
        st.binary(min_size=31, max_size=31),
    ),
    st.builds(
        lambda name, cluster, size, folder: file_set(name, cluster, size, folder=folder),
        st.text(min_size=1, max_size=40),
        st.integers(0, 80),
        st.sampled_from([0, 1, 512, 5000, 1 << 40, (1 << 64) - 1]),
        st.booleans(),
    ),
)


@given(st.lists(slots, max_size=12), st.lists(st.integers(0, 90), min_size=8, max_size=60))
@settings(max_examples=shares.cases("hostile").count, deadline=None)
def test_any_directory_and_any_table_give_data_or_errors_in_time(given_, entries):
    volume = Volume(count=120)
    image = bytearray(volume.image(b"".join(given_)))
    at = 24 * 512 + 8
    for number, entry in enumerate(entries):
        if not any(image[at + 4 * number : at + 4 * number + 4]):
            struct.pack_into("<I", image, at + 4 * number, entry)
    explored(image)


@given(st.binary(min_size=60, max_size=60))
@settings(max_examples=shares.cases("hostile").count, deadline=None)
def test_any_boot_sector_gives_data_or_errors_in_time(noise):
    image = bytearray(Volume(count=120).image(file_set("a", 5, 10)))
    for at, byte in enumerate(noise, 64):
        if byte < 64:
            image[at] = byte
    explored(image)
