"""An SFTP server that refuses, hangs or lies causes an error that names the setting and the
remedy.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from haulback.contract.destination_types import SftpSettings
from haulback.destinations.probe import probe, probe_again
from haulback.destinations.registry import open_destination, usage
from haulback.destinations.sftp import Sftp, open_store
from haulback.destinations.sftp_connection import SftpConnection
from haulback.destinations.store_retries import Retrying
from haulback.errors import (
    Conflict,
    HaulbackError,
    Misconfigured,
    NotFound,
    OutOfSpace,
    Unavailable,
    Unsupported,
)
from haulback.testing.sftp_server import SftpServer, children
from tests import sftp
from tests.hosts import needs_sshd

pytestmark = needs_sshd
# A server whose user has a quota: no file may grow beyond 1 MiB.
# A private key with a passphrase.
LOCKED = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABCARrowxP
bTNNizvHavU/l9AAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIOkqC2zSzwbKqTRN
P4l/fZiouHbOg9zs8+xWhqKKMDbZAAAAkA0TCV6y3Dkg6gbRwC8zTYF1fuUkxUUrovfEyV
BSCiu6Ro0k5NLR8YG8zFoyAfpu6Bs2uoeC/BWKA6GcAdNAYZtfASFFp55aHbn3gZv/l14W
nXN7WpXO3O115hgDtf0DtnvHJQ6DUIG8Gf2cDV9NxD6q16Bz7T2MjjjZyfM9mRpctiE5tm
PTD9E04GzAxMJb2g==
-----END OPENSSH PRIVATE KEY-----"""
QUOTA = """#!/bin/sh
trap '' XFSZ
ulimit -f 1024
exec /usr/lib/openssh/sftp-server
"""


@contextmanager
def serving(folder: Path, subsystem: str) -> Iterator[SftpSettings]:
    server = SftpServer(folder, subsystem)
    server.start()
    try:
        yield msgspec.convert(server.settings("place"), SftpSettings)
    finally:
        server.kill()


def changed(**more: object) -> SftpSettings:
    return msgspec.structs.replace(sftp.new_settings(), **more)


def refused(kind: type[HaulbackError], call: Callable[..., object], *given: object) -> str:
    with pytest.raises(kind) as caught:
        call(*given)
    assert type(caught.value) is kind
    return caught.value.message


def test_another_host_key_is_refused_and_names_the_setting():
    other = (sftp.server().folder / "other.pub").read_text()
    store = open_store(changed(knownHosts=other), "a1")
    message = refused(Misconfigured, store.load, "haulback.json")
    assert message.startswith("knownHosts: 127.0.0.1:")


def test_a_host_key_may_be_given_alone():
    line = sftp.server().host_key.partition(" ")[2]
    store = open_store(changed(knownHosts=f"{line}\n"), "a1")
    store.store("manifests/a", b"x")
    assert store.load("manifests/a") == b"x"


def test_a_wrong_key_or_user_names_the_settings():
    other = (sftp.server().folder / "other").read_text()
    for settings in (
        changed(key=other),
        changed(user="nobody-here"),
        changed(key="", password="x"),
    ):
        message = refused(Misconfigured, open_store(settings, "a1").info, "haulback.json")
        assert "check `user`, `key` and `password`" in message


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"key": ""}, "key: name the private key"),
        ({"key": "nonsense"}, "key: this is no private key"),
        ({"key": "ssh-ed25519 AAAA me"}, "key: this is a public key; give the private key"),
        ({"key": LOCKED}, "key: the key has a passphrase; give one without"),
        ({"knownHosts": "nonsense"}, "knownHosts: give the lines"),
    ],
)
def test_settings_that_cannot_be_read_are_refused_before_any_connection(more, names):
    assert refused(Misconfigured, open_store, changed(**more), "a1").startswith(names)


def test_a_path_that_is_missing_is_no_empty_destination():
    settings = changed(path=str(sftp.server().root / "missing"))
    store = Sftp(settings)
    for call in (store.load, store.info, store.delete, lambda n: store.store(n, b"x")):
        assert "mount or create it" in refused(Unavailable, call, "manifests/a")
    for listing in (store.list, store.entries):
        assert "mount or create it" in refused(Unavailable, listing, "packs")
    assert not Path(settings.path).exists()


def test_a_path_that_goes_away_later_is_not_missing_objects():
    store = Sftp(sftp.new_settings())
    store.store("manifests/a", b"x")
    folder = Path(store.settings.path)
    folder.rename(folder.with_name("unmounted"))
    assert "mount or create it" in refused(Unavailable, store.load, "manifests/a")
    assert "mount or create it" in refused(Unavailable, store.list, "manifests")


def test_a_server_that_may_not_be_written_to_names_the_user_and_the_path(tmp_path: Path):
    with serving(tmp_path, "internal-sftp -R") as settings:
        message = refused(Misconfigured, Sftp(settings).store, "manifests/a", b"x")
        assert "the right to read and write `path`" in message


def test_a_quota_that_is_used_up_is_told_and_leaves_nothing_behind(tmp_path: Path):
    service = tmp_path / "quota"
    service.write_text(QUOTA)
    service.chmod(0o755)
    with serving(tmp_path, str(service)) as settings:
        store = Sftp(settings)
        store.store("packs/ab/small", b"x" * 1000)
        message = refused(OutOfSpace, store.store, "packs/ab/large", b"x" * (3 << 20))
        assert "Check the quota of" in message
        with pytest.raises(NotFound):
            store.info("packs/ab/large")
        assert [*Path(settings.path, ".tmp").iterdir()] == []


def test_a_server_without_hard_links_is_refused_unless_one_writer_is_asked_for(tmp_path: Path):
    with serving(tmp_path, "internal-sftp -P hardlink") as settings:
        message = refused(Unsupported, Sftp(settings).store, "manifests/a", b"x")
        assert "`singleWriter`" in message
        alone = Sftp(msgspec.structs.replace(settings, singleWriter=True))
        alone.store("manifests/a", b"x")
        assert refused(Conflict, alone.store, "manifests/a", b"y")
        assert alone.load("manifests/a") == b"x"


def test_a_closed_port_names_host_port_and_network():
    store = Sftp(changed(port=1))
    assert "check `host`, `port` and the network" in refused(Unavailable, store.load, "index/a")


def test_a_server_that_hangs_ends_the_request_in_time_and_is_reached_again(tmp_path: Path):
    server = SftpServer(tmp_path)
    server.start()
    given = server.settings("place", requestTimeout=1, connectTimeout=5)
    store = Sftp(msgspec.convert(given, SftpSettings))
    store.store("manifests/a", b"x")
    assert server._process
    stopped = children(server._process.pid)
    for child in stopped:
        os.kill(child, signal.SIGSTOP)
    assert "raise `requestTimeout`" in refused(Unavailable, store.load, "manifests/a")
    for child in stopped:
        os.kill(child, signal.SIGCONT)
    assert store.load("manifests/a") == b"x"
    server.kill()
    again = Retrying(store, wait=lambda _: server.start())
    assert again.load("manifests/a") == b"x", "a server that starts again is reached again"
    server.kill()


def test_the_space_of_the_server_is_known():
    found = usage("sftp", sftp.server().settings("space"))
    assert found
    assert 0 < found.free <= found.total


def test_the_registry_opens_a_folder_of_a_server_with_the_wrappers_of_remote_stores():
    store = open_destination("sftp", sftp.server().settings("registry"), "a1")
    store.store("haulback.json", b"{}")
    assert list(store.entries("packs")) == []


def test_the_time_of_an_object_is_that_of_the_server():
    store = Sftp(sftp.new_settings())
    store.store("manifests/a", b"x")
    told = store.info("manifests/a").stored
    assert told
    assert abs(told - Path(store.settings.path, "manifests/a").stat().st_mtime * 1000) < 1000


def test_a_probe_finds_what_a_server_promises_and_leaves_nothing(tmp_path: Path):
    store = Sftp(sftp.new_settings())
    seen = probe(store)
    assert seen
    assert (seen.exclusiveCreate, seen.winners, seen.links, seen.ranges) == (True, 1, True, True)
    assert (seen.mayReplace, seen.mayDelete, seen.listsWrites) == (True, True, True)
    assert [path.name for path in Path(store.settings.path).rglob("*")] == [".tmp"]
    store.store("haulback.json", b"identity")
    assert probe_again(store)
    with serving(tmp_path, "internal-sftp -P hardlink") as settings:
        refused(Unsupported, probe, Sftp(settings))
        alone = probe(Sftp(msgspec.structs.replace(settings, singleWriter=True)))
        assert alone
        assert (alone.singleWriter, alone.links) == (True, None)


def test_a_folder_inside_a_repository_is_refused():
    store = Sftp(sftp.new_settings())
    store.store("haulback.json", b"identity")
    inner = Path(store.settings.path, "inner")
    inner.mkdir()
    message = refused(Conflict, probe, Sftp(changed(path=str(inner))))
    assert "lies inside the repository" in message
    above = str(Path(store.settings.path).parent)
    assert "holds the repository" in refused(Conflict, probe, Sftp(changed(path=above)))


def test_a_server_whose_sftp_service_hangs_is_given_up_after_the_time_to_connect(tmp_path: Path):
    with serving(tmp_path, "sleep 10") as settings:
        store = Sftp(msgspec.structs.replace(settings, connectTimeout=1))
        assert "cannot be reached: TimeoutError" in refused(Unavailable, store.load, "manifests/a")


def test_a_late_error_of_a_lost_connection_leaves_the_next_one_alone():
    async def scene() -> None:
        connection, go = SftpConnection(sftp.new_settings()), asyncio.Event()

        async def late() -> None:
            async with connection.use():
                connection.drop()
                go.set()
                await asked.wait()
                raise TimeoutError

        asked = asyncio.Event()
        task = asyncio.create_task(late())
        await go.wait()
        async with connection.use() as client:
            asked.set()
            with pytest.raises(TimeoutError):
                await task
            assert await client.exists(".")
        connection.drop()

    asyncio.run(scene())
