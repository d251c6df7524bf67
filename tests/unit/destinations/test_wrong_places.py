"""A wrong address or path of a new destination is an error that names the setting."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from haulback.contract.destination_types import S3Settings
from haulback.destinations.folder import Folder
from haulback.destinations.s3 import S3
from haulback.errors import Misconfigured, Unavailable
from tests import s3

NOBODY = "http://127.0.0.1:9"  # the port of the discard service, where nothing listens


def bucket_at(**more: str) -> S3:
    return S3(S3Settings("a-bucket", "id", "secret", createBucket=True, connectTimeout=1, **more))


@pytest.mark.parametrize("place", [{"endpoint": NOBODY}, {"endpoint": "http://s3.invalid"}])
def test_a_bucket_is_not_created_where_nothing_answers(place: dict[str, str]):
    with pytest.raises(Unavailable, match="check `endpoint`, `proxy` and the network"):
        bucket_at(**place).prepare()


@pytest.mark.slow
def test_a_dead_proxy_or_a_store_without_tls_is_named():
    there = s3.server().endpoint
    with pytest.raises(Unavailable, match="check `endpoint`, `proxy` and the network"):
        bucket_at(endpoint=there, proxy=NOBODY).prepare()
    with pytest.raises(Misconfigured, match="does not speak TLS at this address: write http://"):
        bucket_at(endpoint=there.replace("http:", "https:")).prepare()


@pytest.mark.slow
def test_a_bucket_that_is_to_be_created_is_made_by_another_init():
    settings = s3.settings_of("never-made")
    for create, remedy in ((False, "set `createBucket`"), (True, "`haulback destination init`")):
        store = S3(msgspec.structs.replace(settings, createBucket=create))
        with pytest.raises(Misconfigured, match=f"the bucket does not exist: .*{remedy}"):
            store.load("haulback.json")


def test_a_file_is_no_folder_of_a_destination(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="is a file: name a folder"):
        Folder(tmp_path / "file")
    with pytest.raises(Unavailable, match="does not exist; mount or create it"):
        Folder(tmp_path / "missing")
