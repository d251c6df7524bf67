"""`mount dir` says of each row whether it can be read; downloads leave holes as holes."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback.cli.mounts import _contents, _write
from haulback.errors import Incomplete
from haulback.units import MIB


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"contents": {"name": "READABLE"}}, "readable"),
        ({"contents": {"name": "NOT_TRIED"}}, "not tried"),
        ({"contents": {"name": "NOT_READABLE"}, "reason": "encrypted"}, "not readable: encrypted"),
        ({}, "not tried"),
    ],
)
def test_a_row_says_whether_it_can_be_read(row: dict[str, object], said: str):
    assert _contents(row) == said


def test_zeros_of_a_download_become_a_hole(tmp_path: Path):
    parts = [b"begin", bytes(8 * MIB), b"middle", bytes(8 * MIB)]
    _write(tmp_path / "file", iter(parts))
    assert (tmp_path / "file").read_bytes() == b"".join(parts)
    assert (tmp_path / "file").stat().st_blocks * 512 < MIB


def test_a_tar_with_a_report_is_kept_whole(tmp_path: Path):
    def tar():
        yield b"tar"
        yield bytes(1024)
        raise Incomplete("1 of the files", count=1, files=[{"path": "/f", "reason": "bad"}])

    with pytest.raises(Incomplete):
        _write(tmp_path / "tar", tar())
    assert (tmp_path / "tar").read_bytes() == b"tar" + bytes(1024)
    assert [path.name for path in tmp_path.iterdir()] == ["tar"]
