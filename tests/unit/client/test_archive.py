"""A tar from a server is checked to its end, for any division into parts."""

import io
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.client.archive import followed
from haulback.errors import HaulbackError, Incomplete, Unavailable
from haulback.filesystems.report import NAME, UnreadableReport


def tar_of(files, *said):
    """A tar in the product's form: files by name, then a report of (path, reason)."""
    made = io.BytesIO()
    for name, data in files.items():
        info = tarfile.TarInfo(name)
        info.size, info.mtime = len(data), 1.5
        made.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        made.write(data + bytes(-len(data) % 512))
    with UnreadableReport() as report:
        for path, reason in said:
            report.add(path, reason)
        for part in report.member():
            made.write(part)
    return made.getvalue() + bytes(1024)


def cut(data, *lengths):
    """Cut bytes repeatedly into parts of these lengths."""
    at = 0
    while at < len(data):
        for length in lengths:
            yield data[at : at + length]
            at += length


FILES = {"a": b"x" * 700, "n" * 300: b"", "empty": b"", f"{NAME}.txt": b"/etc\tno report\n"}
SAID = (("/f/vm.vhdx", "it is\tencrypted"), ("/f/caf\udce9\n", "damaged from byte 7 of 9"))


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=5))
def test_a_whole_tar_passes_as_it_is_in_whatever_parts(lengths):
    data = tar_of(FILES)
    assert b"".join(followed(cut(data, *lengths))) == data


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=5))
def test_what_a_tar_does_not_hold_is_raised_behind_its_last_byte(lengths):
    data, got = tar_of(FILES, *SAID), []
    with pytest.raises(Incomplete, match="2 of the requested files") as told:
        got.extend(followed(cut(data, *lengths)))
    assert b"".join(got) == data
    assert told.value.exit_code == 3
    assert told.value.details == {
        "count": 2,
        "files": [
            {"path": "/f/vm.vhdx", "reason": "it is\\tencrypted"},
            {"path": "/f/caf\\xe9\\n", "reason": "damaged from byte 7 of 9"},
        ],
    }


@given(st.data())
def test_a_tar_that_is_cut_off_anywhere_is_an_error(data):
    whole = tar_of(FILES, *SAID)
    short = whole[: data.draw(st.integers(0, len(whole) - 1025))]
    with pytest.raises(Unavailable, match="truncated"):
        list(followed(iter([short])))


def test_a_report_of_very_many_files_is_counted_and_not_kept():
    said = [(f"/f/{number}", "gone") for number in range(30_000)]
    with pytest.raises(Incomplete, match="30000 of the requested files") as told:
        list(followed(iter([tar_of({}, *said)])))
    assert len(told.value.details["files"]) == 10_000


def test_a_file_of_more_than_8_gib_is_passed_over_by_its_extended_header():
    info = tarfile.TarInfo("huge")
    info.size = 9 << 30
    head = info.tobuf(tarfile.PAX_FORMAT)
    piece = bytes(1 << 20)

    def parts():
        yield head
        for _ in range(9 << 10):
            yield piece
        yield tar_of({}, ("/a", "b"))

    with pytest.raises(Incomplete):
        for _ in followed(parts()):
            pass


@given(st.binary(max_size=4000))
def test_random_data_is_refused_as_an_archive(noise):
    with suppress(HaulbackError):
        list(followed(iter([noise])))


@given(st.integers(0, 511), st.binary(min_size=1, max_size=12))
def test_a_header_with_other_bytes_is_followed_or_refused(at, other):
    whole = bytearray(tar_of(FILES, *SAID))
    whole[at : at + len(other)] = other
    with suppress(HaulbackError):
        list(followed(cut(bytes(whole), 333)))
