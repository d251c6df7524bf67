"""The server's database as a hypervisor: the answer of the server becomes a disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from haulback.drivers.hypervisor import MachineSource
from haulback.errors import HaulbackError, NotFound, OutOfSpace, Unavailable
from haulback.node.own_server import OwnServer


def source(folder: Path, *pieces: bytes) -> OwnServer:
    def ask() -> Iterator[bytes]:
        yield from pieces

    return OwnServer(ask, folder)


def test_a_copy_is_a_disk_until_it_was_read(tmp_path: Path):
    machines: MachineSource = source(tmp_path, b"\n", b"\n\n", b'{"size":6}\nab', b"cd", b"ef")
    with machines.snapshot("own", "attempt") as snapshot:
        [view] = snapshot.views()
        data = bytearray(6)
        view.source.read_into(0, memoryview(data))
        assert (data, view.changed, snapshot.checkpoint) == (b"abcdef", None, None)
        assert snapshot.machine.definition["type"] == "haulback-server"
    snapshot.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("pieces", "error", "words"),
    [
        ([b"\n", b'{"code":"unavailable","message":"pg_dump is old"}\n'], Unavailable, "pg_dump"),
        ([b'{"size":9}\nabc'], Unavailable, "sent 3 of 9 bytes"),
        ([b'{"size":3}\nabcd'], Unavailable, "sent 4 of 3 bytes"),
        ([b"\n\n"], Unavailable, "closed early"),
        ([b"no line of JSON\n"], Unavailable, "closed early"),
        ([b"x" * 5000], Unavailable, "closed early"),
        ([b'{"size":9007199254740992}\n'], OutOfSpace, "free some space"),
    ],
)
def test_a_copy_that_fails_leaves_no_file(
    tmp_path: Path, pieces: list[bytes], error: type[HaulbackError], words: str
):
    with pytest.raises(error, match=words):
        source(tmp_path, *pieces).snapshot("own", "attempt")
    assert not list(tmp_path.iterdir())


def test_the_source_keeps_nothing_beside_its_copies(tmp_path: Path):
    machines = source(tmp_path)
    machines.check()
    assert machines.inventory().machines == []
    assert machines.sweep(frozenset()) == machines.drop_checkpoints("own", frozenset()) == []
    with pytest.raises(NotFound):
        machines.machine("own")
    machines.close()
