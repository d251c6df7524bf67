"""A node lists the folders of a mounted backup page by page."""

import os
import struct

import pytest

from haulback import framing
from haulback.errors import Malformed
from haulback.filesystems import browser
from haulback.filesystems.browser import Browser
from haulback.filesystems.records import Entries, EntryType, RawEntry
from haulback.node import file_requests
from haulback.node.file_requests import DirectoryRequest, FileRequestWorker, _listing
from haulback.units import KIB, MIB
from tests.unit.repository.scene import MemoryDisk
from tests.volumes import ext, needs_ext

pytestmark = needs_ext
NAMES = [b"plain", b"caf\xe9", b"caf\xea", b"tab\there", rb"\raw-6162", b"z" * 200, b"\xff\xff"]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    (folder / "tree" / "f").mkdir(parents=True)
    for name in NAMES:
        (folder / "tree" / "f" / os.fsdecode(name)).write_bytes(name)
    return ext(folder / "image", folder / "tree", "-t", "ext4", size=4 << 20).read_bytes()


def pages(found, most):
    """Every page of the folder, as a server requests them."""
    after = ""
    while True:
        page = _listing(found, DirectoryRequest("m", "vda", "/f", after, most))
        yield page
        if not page["more"]:
            return
        after = page["next"]


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_a_page_that_ends_with_a_name_that_cannot_be_printed_is_followed_by_the_next(image, most):
    with Browser({"vda": MemoryDisk(image)}) as found:
        got = list(pages(found, most))
        shown = [one["name"] for page in got for one in page["entries"]]
        assert shown == [one.shown for one in found.listing("vda", "/f")]
        assert len(set(shown)) == len(NAMES)
        assert {page["reason"] for page in got} == {""}


def test_a_page_that_becomes_large_ends_before_its_last_entry(image, monkeypatch):
    monkeypatch.setattr(file_requests, "_AT_ONCE", 2)
    monkeypatch.setattr(file_requests, "_PAGE_BYTES", 1)
    monkeypatch.setattr(browser, "AT_ONCE", 1)
    with Browser({"vda": MemoryDisk(image)}) as found:
        got = list(pages(found, 10_000))
        whole = [one.shown for one in found.listing("vda", "/f", most=10_000)]
    assert [len(page["entries"]) for page in got] == [2, 2, 2, 1]
    assert [row["name"] for page in got for row in page["entries"]] == whole


def test_a_response_of_the_longest_entries_fits_a_message():
    longest = RawEntry(b"n" * 1024, EntryType.SYMLINK, 1 << 62, 1, 1, 1, 1, b"t" * 4096, "r" * 300)
    response = Entries([longest] * browser.AT_ONCE, "r" * 300)
    assert len(framing.pack(response)) < framing.MOST


def test_a_mark_that_is_none_is_refused(image):
    with (
        Browser({"vda": MemoryDisk(image)}) as found,
        pytest.raises(Malformed, match="X-Next-Name"),
    ):
        _listing(found, DirectoryRequest("m", "vda", "/f", r"\raw-xyz", 5))


def test_a_row_and_a_folder_say_why_they_cannot_be_read(image):
    raw = bytearray(image)
    at = raw.index(b"\5\1plain") - 6
    struct.pack_into("<I", raw, at, 1 << 30)
    with Browser({"vda": MemoryDisk(bytes(raw))}) as result:
        page = _listing(result, DirectoryRequest("m", "vda", "/f", "", 100))
        (row,) = [item for item in page["entries"] if item["reason"]]
        assert (row["name"], row["type"]) == ("plain", "OTHER")
        assert "does not exist" in row["reason"]
        assert _listing(result, DirectoryRequest("m", "vda", "/f/plain")) == {
            "entries": [row],
            "more": False,
        }
    raw[at + 4 : at + 6] = b"\1\0"
    with Browser({"vda": MemoryDisk(bytes(raw))}) as result:
        page = _listing(result, DirectoryRequest("m", "vda", "/f", "", 100))
        assert "damaged" in page["reason"]
        assert "plain" not in [item["name"] for item in page["entries"]]


class Server:
    """A server that keeps the pieces of answers."""

    def __init__(self):
        self.pieces = []

    def answer(self, guid, number, body, *, last, failed):
        assert number == len(self.pieces)
        self.pieces.append((bytes(body), last, failed))
        return True


def brought(parts):
    worker = FileRequestWorker(server := Server(), None)
    worker._bring("guid", iter(parts))
    worker.stop()
    return server.pieces


def test_a_download_is_sent_in_pieces_of_some_mib():
    parts = [os.urandom(256 * KIB) for _ in range(37)]
    pieces = brought(parts)
    assert b"".join(body for body, *_ in pieces) == b"".join(parts)
    assert len(pieces) <= 5
    assert max(len(body) for body, *_ in pieces) < 3 * MIB
    assert [last for _, last, _ in pieces] == [False] * (len(pieces) - 1) + [True]


def test_an_error_near_the_beginning_is_the_whole_answer():
    def parts():
        yield bytes(256 * KIB)
        raise Malformed("the file system is damaged")

    [(error, last, failed)] = brought(parts())
    assert (b"the file system is damaged" in error, last, failed) == (True, False, True)


def test_bytes_that_come_slowly_do_not_wait_for_a_whole_piece():
    clock = iter([0.0, 0.5, 1.5, 2.0, 2.5])  # two for a part after a piece, one for others
    joined = file_requests._joined([b"a", b"b", b"c"], lambda: next(clock))
    assert list(joined) == [b"ab", b"c"]


def test_an_empty_file_is_one_empty_piece():
    assert brought([]) == [(b"", True, False)]
