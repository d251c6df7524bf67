"""Settings on a command line are checked before they are sent, and secrets come from files."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path

import pytest
from msgspec import Struct

from haulback.cli.destination_settings import read_settings
from haulback.cli.repository_location import open_location
from haulback.contract.destination_types import (
    TYPES,
    Capabilities,
    DestinationType,
    Secret,
)
from haulback.destinations import registry
from haulback.destinations.folder import Folder
from haulback.destinations.store_retries import Retrying
from haulback.errors import Malformed, Unavailable
from haulback.inventory.destination_types import chosen
from tests import s3

FOLDER = TYPES[0]


class AtticSettings(Struct, frozen=True, forbid_unknown_fields=True):
    bucket: str
    accessKey: Secret
    port: int = 443


ATTIC = DestinationType("ATTIC", "attic", AtticSettings, Capabilities())


def test_a_type_is_named_in_any_case_and_a_setting_by_its_likely_name():
    assert chosen("s3") is chosen("S3")
    with pytest.raises(Malformed, match="did you mean 'bandwidth'"):
        read_settings(chosen("S3"), None, ["bandwith=20M"], [])


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("AZURE", ["account=haulbackstore", "container=vault"]),
        ("SFTP", ["host=backup", "user=haulback", "path=/srv/b", "knownHosts=a ssh-ed25519 AAAA"]),
    ],
)
def test_a_destination_without_any_of_its_secrets_is_refused(kind: str, given: list[str]):
    with pytest.raises(Malformed, match="name one of the secrets"):
        read_settings(chosen(kind), None, given, [])


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("swordfish\n")
    return tmp_path / "key"


def test_settings_and_secrets_are_read(key, monkeypatch):
    wanted = {"bucket": "a=b", "port": "8443", "accessKey": "swordfish"}
    texts = ["bucket=a=b", "port=8443"]
    assert read_settings(ATTIC, None, texts, [f"accessKey={key}"]) == wanted
    monkeypatch.setattr("sys.stdin", io.StringIO("swordfish\n"))
    assert read_settings(ATTIC, None, texts, ["accessKey=-"]) == wanted
    assert read_settings(FOLDER, Path("srv"), [], []) == {"path": str(Path("srv").absolute())}


@pytest.mark.parametrize(
    ("texts", "files", "told"),
    [
        (["bucket=b", "accessKey=swordfish"], [], "--set accessKey: the setting is a secret"),
        (["accessKey="], [], "--set accessKey: .* to remove it: .* --unset accessKey"),
        (["bucket=b"], ["bucket={key}"], "--secret bucket: the setting is no secret"),
        (["bucket"], [], "--set bucket: write"),
        (["bucket=b", "colour=red"], ["accessKey={key}"], "colour: a destination of type ATTIC"),
        (["bucket=b"], [], "accessKey: name the secret"),
        (["bucket=b"], ["accessKey={key}.no"], "--secret: .* cannot be read"),
        (["bucket=b"], ["accessKey=/dev/null"], "--secret accessKey: /dev/null is empty; write"),
    ],
)
def test_what_is_wrong_is_named(key, texts, files, told):
    with pytest.raises(Malformed, match=told) as caught:
        read_settings(ATTIC, None, texts, [file.format(key=key) for file in files])
    assert "swordfish" not in caught.value.message


def test_a_repository_is_opened_from_a_folder_or_from_a_file_with_settings(tmp_path: Path):
    file = tmp_path / "vault.json"
    file.write_text(json.dumps({"type": "FILESYSTEM", "path": str(tmp_path)}))
    for location in (tmp_path, file):
        store = open_location(location)
        assert isinstance(store, Folder)
        assert store.root == tmp_path
    with pytest.raises(Unavailable, match="does not exist"):
        open_location(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "does not hold the settings"),
        ("\0", "does not hold the settings"),
        ("[]", "must hold a JSON object"),
        ('{"type": "TAPE"}', "type: 'TAPE'"),
        ('{"type": "FILESYSTEM"}', "path: name a folder"),
        ('{"type": "FILESYSTEM", "path": "/srv", "bucket": "b"}', "bucket: a destination"),
    ],
)
def test_a_file_that_names_no_destination_is_refused(tmp_path: Path, text: str, told: str):
    (tmp_path / "vault.json").write_text(text)
    with pytest.raises(Malformed, match=told):
        open_location(tmp_path / "vault.json")


@pytest.mark.slow
def test_a_command_tells_why_it_waits_for_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(registry, "Retrying", partial(Retrying, wait=lambda seconds: None))
    config = s3.config_of("vault", endpoint="http://127.0.0.1:9")
    (tmp_path / "vault.json").write_text(json.dumps({"type": "S3", **config}))
    store = open_location(tmp_path / "vault.json")
    with pytest.raises(Unavailable):
        store.load("haulback.json")
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("check `endpoint`, `proxy` and the network; the request is repeated")
