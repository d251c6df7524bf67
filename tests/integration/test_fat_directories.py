"""FAT directories are listed according to their slots, and as a Linux kernel and mtools list them.

The directories are generated from seeds; tests/shares.py selects the seeds and their number.
"""

import subprocess
from collections import Counter

import pytest

from tests import exfats, shares
from tests.fats import generated
from tests.hosts import needs_guest
from tests.linux import needs_drivers, shown_by_linux
from tests.volumes import browser, tool

SEED, COUNT, _ = shares.cases("fat")
KINDS = ((12, "cp850", 1), (16, "cp437", 4), (32, "cp932", 1), (16, "cp866", 2), (32, "cp850", 8))
IDS = [f"FAT{bits}, code page {page[2:]}" for bits, page, _ in KINDS]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Volumes of each type with COUNT directories in total, and their paths."""
    folder, result = tmp_path_factory.mktemp("fats"), []
    for number, (bits, page, per_cluster) in enumerate(KINDS):
        share = COUNT // len(KINDS) + (number < COUNT % len(KINDS))
        # A FAT12 has no room for more than a hundred directories, a root of 512 slots not for 400.
        for part in range(0, share, 100):
            count = min(100, share - part)
            seed = SEED * 1000 + number * 10 + part // 100
            volume, data = generated(bits, count, seed, page, per_cluster)
            path = folder / f"{number}-{part}"
            path.write_bytes(data)
            result.append((volume, path))
    assert sum(len(volume.folders) for volume, _ in result) == COUNT
    return result


def test_every_name_is_what_its_slots_say_and_every_file_is_its_own(made, monkeypatch):
    kinds = Counter()
    for volume, path in made:
        monkeypatch.setenv("HAULBACK_FAT_CODE_PAGE", volume.page)
        with browser(path) as result:
            for folder in volume.folders:
                entries = result.listing("vda", f"/{folder.name}", most=10_000)
                assert not entries.reason
                place = f"/{folder.name}/"
                shown = {entry.name: result.read("vda", place + entry.name, 0, 1 << 20)
                         for entry in entries}  # fmt: skip
                assert shown == {
                    item.name: item.data for item in folder.kept if item.name is not None
                }
                assert all(entry.size == len(shown[entry.name]) for entry in entries)
                kinds.update(item.kind for item in folder.kept)
    assert kinds["long"] > COUNT
    assert len(kinds) > 15


def test_mtools_shows_the_same_but_where_it_is_known_to_differ(made, tmp_path, monkeypatch):
    tool("mdir")
    monkeypatch.setenv("MTOOLSRC", str(tmp_path / "rc"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    for volume, path in made:
        drive = f'drive z: file="{path}" codepage={volume.page[2:]}'
        (tmp_path / "rc").write_text(f"mtools_skip_check=1\n{drive}\n")
        for folder in volume.folders:
            place = f"z:/{folder.name}"
            done = subprocess.run(["mdir", "-a", "-b", place], capture_output=True, check=False)
            lines = done.stdout.decode(errors="surrogateescape").splitlines()
            shown = Counter(line[len(place) + 1 :] for line in lines)
            theirs = (item.by_mtools for item in folder.kept)
            assert shown == Counter(their for their in theirs if their is not None), folder.name


@needs_guest
@needs_drivers
def test_a_linux_kernel_shows_the_same_but_where_it_is_known_to_differ(made, tmp_path):
    options = "iocharset=utf8,codepage="
    images = [(path, "vfat", options + volume.page[2:]) for volume, path in made]
    answers = []
    for low in range(0, len(images), 8):
        answers += shown_by_linux(tmp_path, images[low : low + 8])
    for (volume, _), seen in zip(made, answers, strict=True):
        theirs = {name.rstrip("/"): data for name, data in seen.items()}
        for folder in volume.folders:
            place = f"{folder.name}/"
            below = {name.removeprefix(place): data for name, data in theirs.items()
                     if name.startswith(place)}  # fmt: skip
            assert set(below) == {item.by_kernel for item in folder.kept} - {None}, folder.name
            for item in folder.kept:
                if item.kind != "twice":  # a look-up returns the first file of that name
                    assert below[item.by_kernel] == [item.data], (folder.name, item)


@needs_guest
@needs_drivers
def test_a_linux_kernel_shows_the_same_of_an_exfat(tmp_path):
    made = [exfats.generated(min(COUNT, 200), SEED + number) for number in (0, 1)]
    paths = [tmp_path / f"exfat{number}" for number in (0, 1)]
    for path, (_, data) in zip(paths, made, strict=True):
        path.write_bytes(data)
    answers = shown_by_linux(tmp_path, [(path, "exfat", "iocharset=utf8") for path in paths])
    for (volume, _), path, seen in zip(made, paths, answers, strict=True):
        theirs = {name.rstrip("/"): data for name, [data] in seen.items() if name.strip("./")}
        for name, kept in volume.folders:
            assert theirs.pop(name) is None
            for item in kept:
                assert theirs.pop(f"{name}/{item.name}") == item.data
        assert not theirs
        with browser(path) as result:
            for name, kept in volume.folders:
                ours = {item.name for item in result.listing("vda", f"/{name}", most=10_000)}
                assert ours == {item.name for item in kept}
