"""Settings of a new destination are checked against the declaration of its type."""

from __future__ import annotations

from typing import Annotated

import pytest
from msgspec import Meta, Struct

from haulback.contract import destination_types as contract
from haulback.contract.destination_types import Capabilities, DestinationType, Secret, settings_of
from haulback.contract.destinations import ChangedDestination
from haulback.contract.order_records import BackupDestination
from haulback.errors import Malformed
from haulback.inventory.destination_types import (
    changed,
    checked,
    chosen,
    host,
    members,
    moved,
    removed,
)


class AtticSettings(Struct, frozen=True, forbid_unknown_fields=True):
    bucket: Annotated[str, Meta(pattern=r"^[a-z]{3,20}$", description="a bucket of 3 letters up")]
    accessKey: Secret
    port: Annotated[int, Meta(ge=1, le=65535, description="a port")] = 443


class FileSettings(Struct, frozen=True, forbid_unknown_fields=True):
    file: contract.AbsoluteFile


ATTIC = DestinationType("ATTIC", "attic", AtticSettings, Capabilities())
FOLDER, S3, AZURE, SFTP = contract.TYPES
WHOLE = {"bucket": "tower", "accessKey": "swordfish"}


@pytest.fixture(autouse=True)
def two_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "TYPES", (FOLDER, ATTIC))


def test_a_type_is_chosen_by_its_name_or_by_its_driver_and_is_a_folder_else():
    assert chosen("ATTIC") is chosen(None, "attic") is chosen("ATTIC", "attic") is ATTIC
    assert chosen(None) is chosen("FILESYSTEM", "folder") is FOLDER


@pytest.mark.parametrize(
    ("name", "driver", "field", "told"),
    [
        ("TAPE", None, "type", "'TAPE' is not one of FILESYSTEM, ATTIC"),
        ("x" * 5000, None, "type", "is not one of"),
        (None, "s3", "driver", "'s3' is not one of 'folder', 'attic'"),
        ("ATTIC", "folder", "driver", "'folder' is not one of 'attic'"),
    ],
)
def test_a_type_that_is_not_declared_is_refused(name, driver, field, told):
    with pytest.raises(Malformed, match=told) as caught:
        chosen(name, driver)
    assert caught.value.details["field"] == field
    assert len(caught.value.message) < 200


def test_secrets_stand_apart_from_the_other_settings():
    assert checked(ATTIC, WHOLE | {"port": "8443"}) == (
        {"bucket": "tower", "port": 8443},
        {"accessKey": "swordfish"},
    )
    assert [one.name for one in settings_of(ATTIC).values() if one.is_secret] == ["accessKey"]
    assert not any(one.is_secret for one in settings_of(FOLDER).values())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bucket": None}, "bucket"),
        ({"bucket": "T"}, "bucket"),
        ({"bucket": 7.5}, "bucket"),
        ({"bucket": "tow\u202eer"}, "bucket"),
        ({"accessKey": None}, "accessKey"),
        ({"accessKey": ""}, "accessKey"),
        ({"accessKey": ["swordfish"]}, "accessKey"),
        ({"accessKey": "swordfish\n"}, "accessKey"),
        ({"accessKey": "s" * 4097}, "accessKey"),
        ({"port": 0}, "port"),
        ({"port": "many"}, "port"),
        ({"path": "/srv"}, "path"),
        ({"Bucket": "tower"}, "Bucket"),
        ({"x" * 5000: 1}, "x" * 40),
    ],
)
def test_a_wrong_setting_is_named_and_no_value_is_shown(change, field):
    with pytest.raises(Malformed) as caught:
        checked(ATTIC, WHOLE | change)
    assert caught.value.details["field"] == field
    assert caught.value.message.startswith(f"{field}: ")
    assert "swordfish" not in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "path", [None, "", "srv", "./srv", 7, "/s\0rv", "/s\nrv", "/" + "s" * 4096]
)
def test_a_path_that_is_not_absolute_is_refused(path):
    with pytest.raises(Malformed, match="path: name a folder by its absolute path"):
        checked(FOLDER, {"path": path})


@pytest.mark.parametrize("file", [None, "", "attic.db", "./attic.db", 7, "/", "/srv/", "/s\0rv"])
def test_a_setting_that_takes_a_file_asks_for_a_file(file):
    attic = DestinationType("ATTIC", "attic", FileSettings, Capabilities())
    with pytest.raises(Malformed, match=r"^file: name a file by its absolute path$"):
        checked(attic, {"file": file})
    assert checked(attic, {"file": "/srv//attic.db"}).plain == {"file": "/srv/attic.db"}


def test_a_path_is_stored_in_its_shortest_form():
    assert checked(FOLDER, {"path": "/srv//backups/../vault/"}).plain == {"path": "/srv/vault"}


def test_settings_may_stand_at_the_top_of_a_request_but_not_those_of_another_type():
    body = {"name": "a", "bucket": "tower", "path": "", "accessKey": "x", "colour": ""}
    assert members(body, ATTIC) == {"bucket": "tower", "accessKey": "x"}
    assert members({"name": "a", "path": "/srv", "bucket": ""}, FOLDER) == {"path": "/srv"}
    with pytest.raises(Malformed, match="colour: a destination of type ATTIC has no such setting"):
        members(body | {"colour": 1}, ATTIC)
    for name in ("bucket", "secretKey", "endpointUrl", "port"):
        with pytest.raises(Malformed, match=f"{name}: a destination of type FILESYSTEM has no"):
            members({"path": "/srv", name: "x"}, FOLDER)


def test_an_empty_type_is_refused():
    with pytest.raises(Malformed, match="type: ''"):
        chosen("")


def test_a_type_that_is_left_out_is_refused_with_the_list_of_types():
    with pytest.raises(Malformed) as caught:
        chosen("GCS")
    assert all(kind.name in caught.value.message for kind in contract.TYPES)


def test_a_fixed_setting_that_was_left_out_does_not_change_from_its_default():
    present = {"bucket": "tower"}
    assert changed(ATTIC, {"port": "443", "bucket": "tower"}, present).plain == {}
    with pytest.raises(Malformed, match="port: the destination was made with 443") as caught:
        changed(ATTIC, {"port": 8443}, present)
    assert caught.value.details["field"] == "port"


def test_a_fixed_setting_of_a_destination_without_a_repository_needs_a_new_destination():
    present = {"bucket": "tower"}
    with pytest.raises(Malformed, match=r"bucket: .*remove the destination, and add it again"):
        changed(ATTIC, {"bucket": "towers"}, present, is_initialized=False)


def test_a_path_is_no_setting_of_a_type_without_one():
    assert members({"path": ""}, ATTIC) == members({"path": None}, ATTIC) == {}
    with pytest.raises(Malformed, match="path: a destination of type ATTIC has no such setting"):
        members({"path": "/backups"}, ATTIC)


def test_the_empty_text_ends_an_optional_setting():
    present = {"bucket": "tower", "proxy": "http://proxy:3128", "bandwidth": "1M"}
    assert changed(S3, {"proxy": "", "bandwidth": ""}, present).plain == {
        "proxy": "", "bandwidth": ""
    }  # fmt: skip
    whole = {"bucket": "tower", "accessKeyId": "me", "secretAccessKey": "swordfish"}
    given = checked(S3, whole | {"proxy": "", "endpoint": "", "deleteAccessKeyId": ""})
    assert given == ({"bucket": "tower"}, {"accessKeyId": "me", "secretAccessKey": "swordfish"})
    for setting in ("secretAccessKey", "region", "endpoint"):
        with pytest.raises(Malformed):
            changed(S3, {setting: ""}, present | {"endpoint": "http://s3:80"})


def test_an_optional_setting_is_removed_by_its_name():
    wanted = ChangedDestination(
        removedSettings=["proxy", "partSize", "deleteAccessKeyId", "region", "deleteAccessKeyId"]
    )
    given = removed(S3, wanted, bucket(region="us-east-1", partSize=5 << 20))
    assert given == ({"proxy": "", "partSize": ""}, {"deleteAccessKeyId": ""})


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("secretAccessKey", {}, "a destination of type S3 needs the setting; give it another"),
        ("bucket", {}, "a destination of type S3 needs the setting"),
        ("word", {}, "a destination of type S3 has no such setting"),
        ("deleteAccesKeyId", {}, "did you mean 'deleteAccessKeyId'"),
        ("proxy", {"proxy": "http://proxy:3128"}, "changes the setting and removes it"),
        ("region", {}, "the destination was made with eu-1; move the destination"),
        ("endpoint", {}, "the backups are at 'http://s3:80'; move the destination"),
    ],
)
def test_a_setting_that_cannot_be_removed_is_named(name, settings, told):
    wanted = ChangedDestination(settings=settings, removedSettings=["ca", name])
    with pytest.raises(Malformed, match=f"^{name}: .*{told}") as caught:
        removed(S3, wanted, bucket(region="eu-1", endpoint="http://s3:80"))
    assert caught.value.details["field"] == name


def bucket(**more: object) -> BackupDestination:
    return BackupDestination(
        guid="g", name="vault", driver="s3", config={"bucket": "tower", **more}, repository="r"
    )


def test_the_same_path_of_another_host_port_or_user_is_another_folder():
    sftp = {"host": "Backup.example.com", "user": "shop", "path": "/srv"}
    same = host(SFTP, sftp | {"host": "backup.example.com", "port": 22, "path": "/other"})
    assert host(SFTP, sftp) == same
    for change in ({"host": "b2.example.com"}, {"port": 2222}, {"user": "other"}):
        assert host(SFTP, sftp | change) != same
    assert host(FOLDER, {"path": "/srv"}) == host(FOLDER, {"path": "/x"}) == {}


BUCKET = {"bucket": "backups", "accessKeyId": "AK", "secretAccessKey": "secret"}
CONTAINER = {"account": "acct", "container": "backups", "accountKey": "a2V5"}
HOST = {"host": "h", "user": "u", "path": "/x", "knownHosts": "h ssh-ed25519 AAAA", "key": "k"}


@pytest.mark.parametrize(
    ("kind", "whole", "field", "values"),
    [
        (S3, BUCKET, "endpoint", ["http://h:0", "http://h:99999", "http://h:65536", "http://h:x"]),
        (S3, BUCKET, "endpoint", ["http://[::1:9000", "http://::1", "http://[g::1]", "h:9000"]),
        (S3, BUCKET, "endpoint", ["http://u:p@h", "http://h/?a=1", "http://h/a", "ftp://h"]),
        (S3, BUCKET, "proxy", ["http://proxy:70000", "http://u:p@proxy:3128", "socks5://p"]),
        (S3, BUCKET, "bucket", ["192.168.0.1", "a..b", "Backups", "ab", "-ab", "a/b"]),
        (S3, BUCKET, "prefix", ["/a", "a/", "a//b", "a/../b", "../a", "./a", ".", "a b", "\u00e4"]),
        (S3, BUCKET, "secretAccessKey", ["   ", "a\nb", "a b", "\u00e4"]),
        (S3, BUCKET, "accessKeyId", [" ", "AK\t", 5]),
        (AZURE, CONTAINER, "accountKey", ["!!!", "a b", "a=b"]),
        (AZURE, CONTAINER, "endpoint", ["http://u:p@h/acct", "http://h:99999/acct"]),
        (SFTP, HOST, "host", ["h:22", "sftp://h", "u@h", "[::1]", "h h", "a:b"]),
        (SFTP, HOST, "port", [0, -1, 65_536, 22.5, "x", True]),
        (SFTP, HOST, "knownHosts", ["", " \n "]),
    ],
)
def test_a_value_that_no_store_can_have_is_refused(kind, whole, field, values):
    for value in values:
        with pytest.raises(Malformed, match=f"^{field}:"):
            checked(kind, whole | {field: value})


@pytest.mark.parametrize(("kind", "whole"), [(S3, BUCKET), (AZURE, CONTAINER), (SFTP, HOST)])
def test_two_rates_for_one_time_are_refused(kind, whole):
    for text in ("08:00,2M 08:00,3M", "08:00,off 19:00,1M 08:00,off"):
        for check in (checked, moved, lambda kind, given: changed(kind, given, whole)):
            with pytest.raises(Malformed, match="bandwidth: 08:00 has several rates") as caught:
                check(kind, whole | {"bandwidth": text})
            assert caught.value.details["field"] == "bandwidth"
    assert checked(kind, whole | {"bandwidth": "08:00,2M 19:00,2M"})


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (S3, BUCKET | {"endpoint": "http://[::1]:9000", "proxy": "http://[2001:db8::7]:3128"}),
        (S3, BUCKET | {"endpoint": "https://s3.example.com:65535/", "prefix": "a/b.c/-d"}),
        (SFTP, HOST | {"host": "2001:db8::7", "port": "65535"}),
        (AZURE, CONTAINER | {"endpoint": "http://127.0.0.1:10000/acct"}),
    ],
)
def test_addresses_of_ip_6_and_the_last_port_are_taken(kind, given):
    assert checked(kind, given)


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (S3, BUCKET | {"deleteAccessKeyId": "D"}, "deleteSecretAccessKey: name .* or neither"),
        (AZURE, CONTAINER | {"sasToken": "sv=1"}, "sasToken: name only one"),
        (AZURE, CONTAINER | {"accountKey": ""}, "accountKey: name one of"),
        (SFTP, HOST | {"key": ""}, "key: name one of"),
    ],
)
def test_settings_that_belong_together_are_sent_together(kind, given, told):
    with pytest.raises(Malformed, match=told):
        checked(kind, given)


@pytest.mark.parametrize(("kind", "whole"), [(S3, BUCKET), (AZURE, CONTAINER)])
def test_a_certificate_file_is_named_by_its_absolute_path(kind, whole):
    with pytest.raises(Malformed, match=r"^ca: name a PEM file on the node by its absolute path"):
        checked(kind, whole | {"ca": "store.pem"})
