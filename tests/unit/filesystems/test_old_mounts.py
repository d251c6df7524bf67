"""A mount from before an upgrade keeps its process, which still finds its readers."""

from __future__ import annotations

import msgspec
import pytest

from haulback.filesystems import records
from haulback.filesystems.browser import Browser
from haulback.filesystems.sandbox_client import COMMAND
from tests.unit.repository.scene import MemoryDisk


@pytest.mark.parametrize("name", ["child", "sandbox_main"])
def test_a_reader_starts_by_its_old_name(name):
    old = (*COMMAND[:-1], f"haulback.filesystems.{name}")
    with Browser({"vda": MemoryDisk(bytes(1 << 20))}, command=old) as browser:
        assert browser.volumes() == []


@pytest.mark.parametrize(
    ("struct", "tag"),
    [
        (records.Begin, "Begin"),
        (records.ListVolumes, "Volumes"),
        (records.FindEntry, "Look"),
        (records.ListDirectory, "Listing"),
        (records.ReadFile, "Read"),
        (records.VolumesFound, "Disks"),
        (records.Entries, "Entries"),
        (records.Content, "Content"),
        (records.Failed, "Failed"),
    ],
)
def test_a_message_keeps_the_tag_of_the_first_release(struct: type, tag: str):
    assert msgspec.inspect.type_info(struct).tag == tag  # type: ignore[attr-defined]
