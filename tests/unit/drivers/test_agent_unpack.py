"""The script that unpacks a tar in a guest: it keeps attributes, and never unpacks a map as
contents.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from haulback.drivers.libvirt.agent import _UNPACK
from haulback.filesystems.archive import packed
from haulback.filesystems.records import FileFacts
from tests.unit.filesystems.test_tar_members import Files
from tests.volumes import tool


def unpacked(folder: Path, files: Files, *, tar: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script with the program `tar` instead of the system's own."""
    (folder / "out").mkdir()
    (folder / "t.tar").write_bytes(b"".join(packed(files, "v", ["/f"])))
    path = os.environ["PATH"]
    if tar:
        (folder / "bin").mkdir()
        (folder / "bin" / "tar").write_text(f'#!/bin/sh\nexec {tar} "$@"\n')
        (folder / "bin" / "tar").chmod(0o755)
        path = f"{folder / 'bin'}:{path}"
    words = ["sh", "-c", _UNPACK, "sh", folder / "t.tar", folder / "out"]
    return subprocess.run(words, env={"PATH": path}, capture_output=True, text=True, check=False)


HOLE = Files({"f": b"A" * 5000 + bytes(90_000)}, maps={"f": [(0, 5000)]},
             facts=FileFacts([(b"user.note", b"kept")]))  # fmt: skip
PLAIN = Files({"f": b"plain"})


def test_gnu_tar_keeps_holes_and_attributes(tmp_path):
    assert not unpacked(tmp_path, HOLE).returncode
    found = tmp_path / "out" / "f"
    assert found.read_bytes() == HOLE.files["f"]
    assert found.stat().st_blocks * 512 < 90_000
    try:
        os.setxattr(tmp_path / "t.tar", "user.x", b"1")
    except OSError:
        pytest.skip("the folder of the tests keeps no attributes")
    assert os.getxattr(found, "user.note") == b"kept"


@pytest.mark.parametrize("program", ["busybox tar", "bsdtar"])
def test_another_tar_unpacks_what_it_knows_and_refuses_the_rest(program, tmp_path):
    tool(program.split()[0])
    plain, hole = tmp_path / "plain", tmp_path / "hole"
    plain.mkdir(), hole.mkdir()
    assert not unpacked(plain, PLAIN, tar=program).returncode
    assert (plain / "out" / "f").read_bytes() == b"plain"
    done = unpacked(hole, HOLE, tar=program)
    if program == "bsdtar":
        assert (hole / "out" / "f").read_bytes() == HOLE.files["f"]
    else:
        assert done.returncode
        assert "knows no sparse files" in done.stdout
        assert not list((hole / "out").iterdir())


def test_small_holes_are_zeros_in_a_tar_for_a_guest():
    parts = packed(HOLE, "v", ["/f"], strict=True)
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as tar:
        [member] = tar.getmembers()
        assert "GNU.sparse.realsize" not in member.pax_headers
