"""The file system of a folder is that of its innermost mount, whatever other mounts are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback import mount_table
from haulback.drivers import direct_writes
from haulback.mount_table import mount_of

TABLE = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:45 / /mnt/nfs rw,relatime shared:2 - nfs4 filer:/export rw,vers=4.2
41 22 0:46 / /mnt/win\\040share rw,relatime shared:3 - cifs //filer/backups rw
42 40 0:47 / /mnt/nfs/inner rw,relatime - ext4 /dev/sdb1 rw
a line that is no mount
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/mnt/nfs/vault", "nfs4"),
        ("/mnt/nfs", "nfs4"),
        ("/mnt/nfs/inner/x", "ext4"),
        ("/mnt/nfsother", "ext4"),
        ("/mnt/win share/x", "cifs"),
    ],
)
def test_a_folder_lies_on_the_innermost_mount(path, kind):
    found = mount_of(Path(path), TABLE)
    assert found
    assert found.kind == kind


def test_a_mount_with_a_name_in_another_encoding_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    table = tmp_path / "mountinfo"
    stick = "50 22 0:50 / /media/Daten\xe4\x85 rw - vfat /dev/sdc1 rw\n".encode("latin-1")
    table.write_bytes(stick + TABLE.encode())
    monkeypatch.setattr(mount_table, "_TABLE", table)
    found = mount_of(Path("/mnt/nfs/vault"))
    assert found
    assert found.kind == "nfs4"


def test_without_a_table_images_are_written_through_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mount_table, "_TABLE", tmp_path / "nothing")
    assert not direct_writes.is_suitable(tmp_path)
