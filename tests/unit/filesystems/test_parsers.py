"""The parsers also read file systems of other tools in this process, without the sandbox."""

from __future__ import annotations

import os

import pytest

from haulback.units import MIB
from tests import volumes
from tests.integration import test_filesystems as made

pytestmark = [
    pytest.mark.slow,  # images of hundreds of MiB, filled by the kernel
    pytest.mark.usefixtures("in_this_process"),
]


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


def test_an_ntfs_is_read_to_the_last_byte(tmp_path, plain):
    made.test_an_ntfs_is_read_as_it_is(tmp_path, plain)


def test_links_and_packed_files_of_windows_are_read(tmp_path):
    made.test_what_only_windows_does_is_read_or_refused(tmp_path)


def test_the_second_table_replaces_a_lost_one(tmp_path, plain):
    made.test_a_disk_whose_first_gpt_is_gone_is_read_by_its_spare(tmp_path, plain)


def test_logical_volumes_are_found_on_their_disks(tmp_path, plain):
    made.test_logical_volumes_linear_and_striped_are_read(tmp_path, plain)


def test_reserved_space_is_zeros(tmp_path):
    made.test_space_that_was_reserved_and_not_written_is_zeros(tmp_path)


def test_a_volume_of_random_data_has_a_reason_and_no_files(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(os.urandom(MIB) + bytes(MIB))
    with volumes.browser(image) as found:
        assert [volume.readable for volume in found.volumes()] in ([], [False])
