"""A volume is browsed by absolute paths, page by page, and no path leads out of it."""

import io
import os
import tarfile

import pytest

from haulback.errors import Malformed, NotFound, Unsupported
from haulback.filesystems.browser import Browser
from haulback.filesystems.records import EntryType
from haulback.repository.stored_disk import StoredDisk
from haulback.texts import printable
from haulback.units import MIB
from tests import volumes
from tests.unit.repository.scene import MemoryDisk, back_up
from tests.volumes import empty, ext, needs_ext

pytestmark = [needs_ext, pytest.mark.usefixtures("in_this_process")]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A small ext4 volume with files, links and names that are not UTF-8."""
    folder = tmp_path_factory.mktemp("image")
    tree = folder / "tree"
    (tree / "etc" / "deep").mkdir(parents=True)
    (tree / "etc" / "passwd").write_bytes(b"root:x:0:0\n")
    (tree / "random").write_bytes(os.urandom(9 * MIB + 77))
    (tree / "bin").symlink_to("usr/bin")
    (tree / "usr" / "bin").mkdir(parents=True)
    (tree / "usr" / "bin" / "tool").write_bytes(b"tool")
    (tree / "up").symlink_to("../../../../etc/passwd")
    (tree / "absolute").symlink_to("/etc/passwd")
    (tree / "round").symlink_to("around")
    (tree / "around").symlink_to("round")
    (tree / os.fsdecode(b"caf\xe9\n")).write_bytes(b"latin")
    return ext(folder / "image", tree, "-t", "ext4", "-L", "root", size=24 * MIB)


@pytest.fixture(scope="module")
def browser(image):
    with volumes.browser(image) as browser:
        yield browser


def test_a_disk_without_partitions_is_one_volume(browser):
    (volume,) = browser.volumes()
    assert (volume.name, volume.type, volume.label) == ("vda", "ext4", "root")
    assert (volume.size, volume.disks, volume.readable) == (24 * MIB, ("vda",), True)


def test_an_empty_disk_has_no_volumes(tmp_path):
    with volumes.browser(empty(tmp_path / "image", MIB)) as browser:
        assert browser.volumes() == []


def test_pages_of_a_listing_are_sorted_and_complete(browser):
    whole = [one.name for one in browser.listing("vda", "/")]
    pages, after = [], ""
    while page := browser.listing("vda", "/", after=after, most=3):
        pages += [one.name for one in page]
        after = page[-1].name
    assert pages == whole == sorted(whole, key=os.fsencode)


def test_a_name_that_is_not_utf8_is_found_again_and_can_be_printed(browser):
    (entry,) = [one for one in browser.listing("vda", "/") if one.name.startswith("caf")]
    assert browser.read("vda", f"/{entry.name}", 0, 100) == b"latin"
    assert entry.shown == "caf\\xe9\\n"
    assert printable("a\tb\x1b[31m\u202e") == "a\\tb\\x1b[31m\\u202e"


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("etc", "absolute"),
        ("", "absolute"),
        ("/etc/../etc", r"\.\."),
        ("/./etc", r"\.\."),
        ("/a\0b", "NUL"),
        ("/" + "a" * 5000, "4096"),
        ("/" + "a" * 2000, "1024"),
        ("/\ud800", "characters"),
    ],
)
def test_a_bad_path_is_refused_with_the_reason(browser, path, word):
    for call in (browser.entry, browser.listing, browser.stream):
        with pytest.raises(Malformed, match=word):
            call("vda", path)


def test_a_missing_path_is_named(browser):
    for path in ("/nothing", "/etc/nothing", "/etc/passwd/below"):
        with pytest.raises(NotFound, match=path):
            browser.entry("vda", path)
    with pytest.raises(NotFound, match="sda9"):
        browser.listing("sda9", "/")


def test_a_file_is_no_directory_and_a_directory_no_file(browser):
    with pytest.raises(Malformed, match="not a directory"):
        browser.listing("vda", "/etc/passwd")
    with pytest.raises(Malformed, match="not a file"):
        browser.stream("vda", "/etc")


def test_links_are_followed_within_their_volume_only(browser):
    assert browser.entry("vda", "/bin").type is EntryType.SYMLINK
    assert browser.read("vda", "/bin/tool", 0, 10) == b"tool"
    assert browser.read("vda", "/up", 0, 4) == b"root"
    assert browser.read("vda", "/absolute", 0, 4) == b"root"
    with pytest.raises(NotFound, match="links"):
        browser.read("vda", "/round", 0, 1)
    assert browser.entry("vda", "/round").type is EntryType.BROKEN_SYMLINK


def test_any_part_of_a_file_can_be_read(browser):
    parts = list(browser.stream("vda", "/random"))
    assert max(map(len, parts)) <= 256 << 10
    whole = b"".join(parts)
    assert len(whole) == 9 * MIB + 77
    for offset, count in ((0, 1), (5_000_001, 4 * MIB), (9 * MIB, 1000), (20 * MIB, 5)):
        assert browser.read("vda", "/random", offset, count) == whole[offset : offset + count]


def test_a_stored_disk_is_read_where_it_lies(image, browser, repository, tmp_path, pool):
    made = back_up(repository, MemoryDisk(image.read_bytes()), tmp_path / "s", pool)
    stored = StoredDisk(made.disks[0].map, repository.reader())
    with Browser({"vda": stored}) as again:
        assert again.listing("vda", "/") == browser.listing("vda", "/")
        theirs = b"".join(browser.stream("vda", "/random"))
        assert b"".join(again.stream("vda", "/random")) == theirs


def test_a_tar_holds_what_was_asked_for(browser):
    packed = b"".join(browser.archive("vda", ["/etc", "/up", "/random"]))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        kinds = {item.name: item.type for item in tar}
        assert kinds == {
            "etc": tarfile.DIRTYPE,
            "etc/deep": tarfile.DIRTYPE,
            "etc/passwd": tarfile.REGTYPE,
            "up": tarfile.SYMTYPE,
            "random": tarfile.REGTYPE,
        }
        assert tar.extractfile("random").read() == b"".join(browser.stream("vda", "/random"))


def test_a_missing_path_shows_before_a_tar_begins(browser):
    with pytest.raises(NotFound, match="/nothing"):
        browser.archive("vda", ["/etc", "/nothing"])


@pytest.mark.parametrize(
    ("offset", "mark", "type_"),
    [
        (0, b"LUKS\xba\xbe", "luks"),
        (3, b"-FVE-FS-", "bitlocker"),
        (65600, b"_BHRfS_M", "btrfs"),
        (4086, b"SWAPSPACE2", "swap"),
        (4096, b"\xfc\x4e\x2b\xa9", "linux_raid"),
    ],
)
def test_what_cannot_be_read_is_listed_with_the_reason(offset, mark, type_, tmp_path):
    image = empty(tmp_path / "image", MIB)
    with open(image, "r+b") as file:
        file.seek(offset)
        file.write(mark)
    with volumes.browser(image) as result:
        (volume,) = result.volumes()
        assert (volume.type, volume.readable) == (type_, False)
        assert volume.reason
        with pytest.raises(Unsupported, match=type_):
            result.listing("vda", "/")
