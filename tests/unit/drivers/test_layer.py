"""The base of an overlay is read from its header, even if another file has the image's path."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from haulback.drivers.images.overlay import NbdExport, below

HEAD = struct.Struct(">4sIQI")


def image(path: Path, said: str, *, offset: int = 512, length: int | None = None) -> Path:
    text = said.encode()
    head = HEAD.pack(b"QFI\xfb", 3, offset, len(text) if length is None else length)
    path.write_bytes(head.ljust(512, b"\0") + text)
    return path


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("base.qcow2", "base.qcow2"),
        (
            'json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"unix",'
            '"path":"/run/a/nbd"},"export":"v?d/a"}}',
            NbdExport("/run/a/nbd", "v?d/a"),
        ),
        ("json:{}", "json:{}"),
        ("json:[1", "json:[1"),
        ("nbd:unix:/run/a", "nbd:unix:/run/a"),
    ],
)
def test_what_a_header_names_is_understood(tmp_path: Path, said: str, found: object):
    wanted = tmp_path / found if found == "base.qcow2" else found
    assert below(image(tmp_path / "image", said)) == wanted


def test_what_is_no_layer_lies_on_nothing(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "short").write_bytes(b"QFI\xfb")
    (tmp_path / "raw").write_bytes(bytes(4096))
    image(tmp_path / "whole", "", offset=0)
    (tmp_path / "link").symlink_to(tmp_path / "whole")
    for name in ("pipe", "short", "raw", "whole", "link", "missing"):
        assert below(tmp_path / name) is None, name


def test_a_header_with_wrong_offsets_does_no_harm(tmp_path: Path):
    assert below(image(tmp_path / "a", "x", length=1 << 31)) == tmp_path / "x"
    assert below(image(tmp_path / "b", "x", offset=1 << 40)) == tmp_path
