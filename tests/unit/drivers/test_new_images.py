"""The disks of a new machine, and steps that a driver leaves to a later clean-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback.drivers.hypervisor import MachineDisk
from haulback.drivers.images.image_writer import check_disks
from haulback.drivers.images.notes import is_carried_out
from haulback.errors import HaulbackError, Malformed, Unavailable, Unsupported

ROOT = MachineDisk("root", 10, "raw")


@pytest.mark.parametrize(
    ("disks", "error", "told"),
    [
        ([ROOT, MachineDisk("root", 20, "raw")], Malformed, "name of its own"),
        ([MachineDisk("", 10, "raw")], Malformed, "disk '' needs a name and a size"),
        ([MachineDisk("data", -1, "raw")], Malformed, "disk 'data' needs a name and a size"),
        ([ROOT, MachineDisk("data", 1, "vmdk")], Unsupported, "disk 'data': 'vmdk' is not one of"),
    ],
)
def test_a_new_machine_with_wrong_disks_is_refused_by_the_name_of_the_disk(
    disks: list[MachineDisk], error: type[HaulbackError], told: str
):
    with pytest.raises(error, match=told):
        check_disks(disks)


def test_a_machine_with_and_without_disks_is_accepted():
    check_disks([])
    check_disks([ROOT, MachineDisk("data", 0, "raw")])


def test_a_step_that_fails_now_stays_for_the_next_clean_up_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    def away(note: Path) -> None:
        raise Unavailable("libvirt is away")

    note = tmp_path / "note"
    assert is_carried_out(lambda path: None, note)
    assert not caplog.records
    assert not is_carried_out(away, note)
    assert f"{note} could not be removed now" in caplog.text
    assert "libvirt is away" in caplog.text
