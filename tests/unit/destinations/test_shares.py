"""A share that is not mounted is refused, and so is a folder inside another repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback.destinations.registry import check_place, listing_delay, open_destination
from haulback.destinations.shares import require_mounted
from haulback.errors import Conflict, Malformed, Unavailable
from tests.unit.test_mount_table import TABLE


@pytest.mark.parametrize(
    ("path", "share", "is_mounted"),
    [
        ("/mnt/nfs/vault", "NFS", True),
        ("/mnt/nfs/vault", "SMB", False),
        ("/mnt/other", "NFS", False),
        ("/mnt/win share", "SMB", True),
        ("/mnt/other", "OTHER", True),
        ("/mnt/other", "LOCAL", True),
    ],
)
def test_a_share_must_be_mounted_where_its_folder_is(path, share, is_mounted):
    if is_mounted:
        require_mounted(Path(path), share, TABLE)
        return
    with pytest.raises(Unavailable, match=f"the {share} share of destination folder {path} is not"):
        require_mounted(Path(path), share, TABLE)


def test_an_empty_mount_point_is_no_destination(tmp_path):
    settings = {"path": str(tmp_path), "share": "NFS"}
    with pytest.raises(Unavailable, match="is not mounted: the folder is on"):
        open_destination("folder", settings, "by-hand")


def test_a_folder_inside_a_repository_is_no_place_for_another(tmp_path):
    (tmp_path / "haulback.json").write_text("{}")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    with pytest.raises(Conflict, match=f"lies inside the repository in {tmp_path}"):
        check_place("folder", {"path": str(inner)})
    check_place("folder", {"path": str(tmp_path)})


def test_the_kind_of_share_decides_how_far_lists_lag_unless_said():
    delays = {
        share: listing_delay("folder", {"path": "/x", "share": share})
        for share in ("LOCAL", "NFS", "SMB", "OTHER")
    }
    assert delays == {"LOCAL": 0.0, "NFS": 120.0, "SMB": 120.0, "OTHER": 120.0}
    assert listing_delay("folder", {"path": "/x", "share": "NFS", "listingDelay": 30}) == 30
    assert listing_delay("folder", {"path": "/x", "listingDelay": 5}) == 5
    with pytest.raises(Malformed):
        listing_delay("folder", {"path": "/x", "listingDelay": -2})


@pytest.mark.parametrize(
    ("driver", "config", "usual"),
    [
        ("s3", {"bucket": "vault"}, 0),
        ("s3", {"bucket": "vault", "endpoint": "https://s3.eu-west-1.amazonaws.com"}, 0),
        ("s3", {"bucket": "vault", "endpoint": "https://s3.example.com:9000"}, 120),
        ("s3", {"bucket": "vault", "endpoint": "https://amazonaws.com.example.com"}, 120),
        ("azure", {"account": "vault", "container": "vault"}, 0),
        ("sftp", {"host": "h", "user": "u", "path": "/x", "knownHosts": "k"}, 0),
    ],
)
def test_lists_of_stores_that_promise_nothing_lag_unless_said(driver, config, usual):
    keys = {"accessKeyId": "k", "secretAccessKey": "s"} if driver == "s3" else {}
    assert listing_delay(driver, config | keys) == usual
    assert listing_delay(driver, config | keys | {"listingDelay": 7}) == 7
