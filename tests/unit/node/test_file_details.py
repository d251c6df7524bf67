"""Details of an entry are reported after it was opened and read to its end."""

from __future__ import annotations

import pytest

from haulback.errors import Damaged, Unavailable
from haulback.filesystems.browser import Browser
from haulback.filesystems.records import Contents, DirectoryEntries, EntryHint, EntryType, FileEntry
from haulback.node.file_details import details, tried
from haulback.units import MIB
from tests.unit.filesystems import readers
from tests.unit.filesystems.test_archive import Torn
from tests.volumes import ext, needs_ext

pytestmark = needs_ext


@pytest.fixture
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haulback.filesystems.sandbox_client._spawn", readers.start)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("details")
    tree = folder / "tree"
    (tree / "f").mkdir(parents=True)
    (tree / "f" / "full").write_bytes(b"full of it" * 600_000)
    with open(tree / "f" / "hole", "wb") as file:
        file.truncate(40 << 30)
        file.seek(20 << 30)
        file.write(b"middle")
    (tree / "f" / "empty").touch()
    (tree / "f" / "tiny").write_bytes(b"tiny")
    (tree / "f" / "link").symlink_to("nowhere")
    options = ("-t", "ext4", "-I", "256", "-O", "inline_data")
    return ext(folder / "image", tree, *options, size=24 * MIB).read_bytes()


def states(browser: Browser) -> dict[str, Contents]:
    return {entry.name: entry.contents for entry in browser.listing("vda", "/f")}


@pytest.mark.usefixtures("_here")
def test_a_listing_says_what_was_not_tried_and_details_try_it(image: bytes):
    with Browser({"vda": Torn(image)}) as browser:
        assert states(browser) == {
            "empty": Contents.READABLE,
            "full": Contents.NOT_TRIED,
            "hole": Contents.NOT_TRIED,
            "link": Contents.READABLE,
            "tiny": Contents.READABLE,
        }
        assert browser.entry("vda", "/f").contents is Contents.NOT_TRIED
        assert browser.entry("vda", "/f/tiny").hints & EntryHint.INSIDE
        for name in ("full", "hole", "empty", "tiny", "link", ""):
            told = details(browser, "vda", f"/f/{name}")
            assert (told["contents"], told["reason"]) == ("READABLE", "")
        hole = details(browser, "vda", "/f/hole")
        assert hole["read"] == hole["stored"]
        assert 0 < int(str(hole["stored"])) <= 4096
        assert details(browser, "vda", "/f/tiny")["features"] == ["inline_data"]


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("error", [Damaged("packs/07 is missing"), Unavailable("gone")])
def test_details_find_the_damage_that_a_listing_cannot_know(image: bytes, error: Exception):
    at = image.index(b"full of it" * 100) + 5 * MIB
    with Browser({"vda": Torn(image, (at, at + 1), error=error)}) as browser:
        assert states(browser)["full"] is Contents.NOT_TRIED
        if isinstance(error, Unavailable):
            with pytest.raises(Unavailable):
                details(browser, "vda", "/f/full")
            return
        told = details(browser, "vda", "/f/full")
        assert (told["contents"], told["reason"]) == ("NOT_READABLE", "packs/07 is missing")
        assert 0 < int(str(told["read"])) < 6_000_000


@pytest.mark.usefixtures("_here")
def test_a_file_that_takes_too_long_is_said_to_be_tried_in_part(image: bytes):
    with Browser({"vda": Torn(image)}) as browser:
        entry = browser.entry("vda", "/f/full")
        found = tried(browser, "vda", "/f/full", entry, seconds=-1)
        assert found.contents is Contents.NOT_TRIED
        assert "without an error" in found.reason
        assert 0 < found.read < found.stored


def test_a_folder_that_lists_only_a_part_is_not_readable():
    class Partly:
        def listing(self, *_: object, **__: object) -> DirectoryEntries:
            return DirectoryEntries([], "a block is damaged")

    entry = FileEntry("f", EntryType.DIRECTORY, 0, 0, 0o755, 0, 0)
    found = tried(Partly(), "vda", "/f", entry)
    assert found.contents is Contents.NOT_READABLE
    assert "a block is damaged" in found.reason
