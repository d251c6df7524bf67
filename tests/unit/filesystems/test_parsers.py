"""The parsers read file systems of other makers in this process too, without the sandbox.

The sandbox has no files, so nothing measures the code that runs in it.  Here its requests are
answered by a thread of the tests' own process, through the same sockets.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from threading import Thread

import msgspec
import pytest

from haulback.filesystems.parsers.blocks import ParentDisk
from haulback.filesystems.parsers.fat_names import CodePage
from haulback.filesystems.parsers.queries import QueryHandler
from haulback.filesystems.records import Ask, Begin
from haulback.filesystems.sandbox_main import answer
from haulback.framing import receive, send
from haulback.units import MIB
from tests import volumes
from tests.integration import test_filesystems as made

pytestmark = pytest.mark.slow  # images of hundreds of MiB, filled by the kernel
_asks = msgspec.msgpack.Decoder(Ask)


class Reader:
    """A thread in the place of the confined process."""

    def __init__(self, control: socket.socket, disks: socket.socket) -> None:
        self._control = control.dup()
        self._thread = Thread(target=self._run, args=(control.dup(), disks.dup()), daemon=True)
        self._thread.start()

    def _run(self, control: socket.socket, disks: socket.socket) -> None:
        with control, disks, suppress(EOFError, OSError):
            begin = receive(control, _asks)
            assert isinstance(begin, Begin)
            sources = {
                name: ParentDisk(disks, number, size)
                for number, (name, size) in enumerate(begin.disks)
            }
            answers = QueryHandler(sources, CodePage(begin.code_page))
            while True:
                send(control, answer(answers, receive(control, _asks)))

    def poll(self) -> int | None:
        return None if self._thread.is_alive() else 0

    def kill(self) -> None:
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()

    def wait(self) -> int:
        self._thread.join()
        return 0


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = "haulback.filesystems.sandbox_client._spawn"
    monkeypatch.setattr(spawn, lambda command, control, disks: Reader(control, disks))


@pytest.fixture(scope="module")
def unix(tmp_path_factory: pytest.TempPathFactory):
    return volumes.unix_tree(tmp_path_factory.mktemp("unix") / "tree")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory):
    return volumes.plain_tree(tmp_path_factory.mktemp("plain") / "tree")


@pytest.mark.parametrize("name", ["as mkfs makes it", "with small blocks and large directories"])
def test_an_xfs_of_the_kernel_is_read_to_the_last_byte(name, tmp_path, unix):
    made.test_an_xfs_filled_by_the_kernel_is_read_as_it_is(made.XFS[name], tmp_path, unix)


def test_an_xfs_of_version_4_is_read(tmp_path):
    made.test_an_xfs_of_version_4_is_read_as_mkfs_fills_it(tmp_path)


def test_the_log_of_an_xfs_in_use_is_a_caution(tmp_path):
    made.test_an_xfs_says_when_its_log_holds_what_stands_nowhere_else(tmp_path)


def test_damage_in_an_xfs_is_named(tmp_path):
    made.test_damage_in_an_xfs_is_named_and_the_rest_delivered(tmp_path)


@pytest.mark.parametrize("options", [("-t", "ext4"), ("-t", "ext4", "-O", "^metadata_csum")])
def test_the_journal_of_an_ext_in_use_is_applied(options, tmp_path, unix):
    made.test_an_ext_caught_in_use_is_read_as_mounting_would_show_it(options, tmp_path, unix)


@pytest.mark.parametrize("name", ["ext4 with blocks of 1 KiB and short inodes", "ext2"])
def test_an_ext_of_the_kernel_is_read_to_the_last_byte(name, tmp_path, unix):
    made.test_an_ext_filled_by_the_kernel_is_read_as_it_is(made.EXT[name], tmp_path, unix)


@pytest.mark.parametrize(
    ("script", "first", "names"),
    [(made.GPT, 16, ("vda1", "vda2", "vda3")), (made.MBR, 17, ("vda1", "vda5", "vda6"))],
    ids=["GPT", "MBR"],
)
def test_the_partitions_of_a_table_are_volumes(script, first, names, tmp_path, plain):
    made.test_partitions_are_volumes(script, first, names, tmp_path, plain)


def test_the_second_table_replaces_a_lost_one(tmp_path, plain):
    made.test_a_disk_whose_first_gpt_is_gone_is_read_by_its_spare(tmp_path, plain)


def test_logical_volumes_are_found_on_their_disks(tmp_path, plain):
    made.test_logical_volumes_linear_and_striped_are_read(tmp_path, plain)


def test_reserved_space_is_zeros(tmp_path):
    made.test_space_that_was_reserved_and_not_written_is_zeros(tmp_path)


def test_a_volume_of_noise_has_a_reason_and_no_files(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(os.urandom(MIB) + bytes(MIB))
    with volumes.browser(image) as found:
        assert [volume.readable for volume in found.volumes()] in ([], [False])
