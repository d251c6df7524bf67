"""A configuration may be damaged, hostile or edited on another system."""

from __future__ import annotations

import base64
import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.exceptions import InvalidTag

from haulback.destinations.folder import Folder
from haulback.errors import Damaged, HaulbackError, WrongKey
from haulback.repository.config import CONFIG, CONFIG_COPY, revision_problems
from haulback.repository.keys import Keys, Secret
from haulback.repository.openers import let_open
from haulback.repository.repair import RepairContext, repair
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import Depth, verify
from tests.conftest import SECRET

PASSPHRASE = Secret.passphrase("correct horse")


@pytest.fixture(scope="module")
def two_keys(tmp_path_factory):
    """The configuration of a repository with a key file and a passphrase."""
    root = tmp_path_factory.mktemp("two") / "d"
    root.mkdir()
    Repository.init(Folder(root), SECRET, PASSPHRASE)
    return (root / CONFIG).read_bytes()


@pytest.fixture
def root(tmp_path, two_keys):
    for name in (CONFIG, CONFIG_COPY):
        (tmp_path / name).write_bytes(two_keys)
    return tmp_path


@pytest.mark.parametrize("name", [CONFIG, CONFIG_COPY])
def test_any_flipped_bit_of_one_copy_is_found_and_the_other_opens(root, two_keys, pool, name):
    chance = random.Random(name)
    for _ in range(60):
        raw = bytearray(two_keys)
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        (root / name).write_bytes(raw)
        repository = Repository.open(Folder(root), SECRET)
        assert list(repository.problems) == [name]
        assert not verify(repository, Depth.OBJECTS, Resources(pool)).ok


@pytest.mark.parametrize("more", [b"\n", b" ", b"{}", b"\0"])
def test_what_is_appended_is_found(root, two_keys, more):
    (root / CONFIG).write_bytes(two_keys + more)
    assert list(Repository.open(Folder(root), SECRET).problems) == [CONFIG]


def test_a_wrong_key_is_called_wrong_even_where_one_copy_is_damaged(root):
    (root / CONFIG).write_bytes(b"\0" * 100)
    with pytest.raises(WrongKey):
        Repository.open(Folder(root), Secret("keyfile", bytes(32)))


def changed(data: bytes, **values) -> bytes:
    found = json.loads(data)
    for slot in found["slots"]:
        slot.update(values)
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    "values",
    [
        {"memory_kib": 1 << 40},
        {"memory_kib": -1},
        {"memory_kib": 10**40},
        {"iterations": 10**9},
        {"iterations": 0},
        {"salt": ""},
        {"salt": base64.b64encode(bytes(1 << 16)).decode()},
        {"wrapped": ""},
        {"wrapped": "AAAA"},
        {"wrapped": "not base 64"},
        {"kind": "tattoo"},
        {"memory_kib": "many"},
    ],
    ids=str,
)
def test_a_hostile_slot_is_refused_in_our_words_and_without_its_memory(root, two_keys, values):
    for name in (CONFIG, CONFIG_COPY):
        (root / name).write_bytes(changed(two_keys, **values))
    for secret in (SECRET, PASSPHRASE):
        with pytest.raises((WrongKey, Damaged)):
            Repository.open(Folder(root), secret)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"more":' + b"[" * 100_000,
        b'{"repository":1,"slots":[],"check":""}',
        b'{"repository":"x","slots":[],"check":""}',
    ],
    ids=lambda data: repr(data[:12]),
)
def test_a_configuration_that_is_none_is_damaged(root, data):
    for name in (CONFIG, CONFIG_COPY):
        (root / name).write_bytes(data)
    for secret in (SECRET, PASSPHRASE, Keys.generate()):
        with pytest.raises(HaulbackError):
            Repository.open(Folder(root), secret)


@pytest.mark.parametrize(
    "retyped",
    [
        lambda kit: kit.replace("\n", "\r\n"),
        lambda kit: kit.replace("\n", "\r"),
        lambda kit: "\ufeff" + kit.replace("\n", "\r\n"),
        str.lower,
        lambda kit: kit.replace("\n", "  \n\n"),
        lambda kit: kit.replace("key\n", "Key \n"),
    ],
)
def test_a_recovery_kit_opens_whatever_its_line_ends_and_letters(root, retyped):
    made = Repository.open(Folder(root), SECRET)
    keys = Keys.from_kit(retyped(made.keys.kit(made.guid)))
    assert (keys.master, keys.repository) == (made.keys.master, made.guid)


def test_an_older_version_cannot_open_what_keeps_it_from_writing(root):
    """The first release opens every object in `graves/` with the key of pending deletes before it
    writes.
    """
    repository = Repository.open(Folder(root), SECRET)
    repository.begin_writing()
    [item] = repository.destination.list("graves")
    leaf = item.name.rpartition("/")[2]
    sealed = repository.destination.load(item.name)
    with pytest.raises(InvalidTag):
        repository.keys.unseal("grave", leaf.encode(), sealed)
    assert revision_problems(repository.destination, repository.keys) == {}
    (root / item.name).unlink()
    (root / item.name).write_bytes(b"x")
    assert list(revision_problems(repository.destination, repository.keys)) == [item.name]


def test_a_secret_that_is_added_later_opens_the_repository(tmp_path):
    store, added = Folder(tmp_path), Secret("keyfile", b"a key that is added later, 32 bytes")
    made = Repository.init(store, SECRET)
    assert let_open(made, added)
    assert not let_open(made, added)  # the secret opens the repository already
    assert not let_open(made, SECRET)
    opened = Repository.open(store, added)
    assert (opened.guid, opened.keys.master, opened.problems) == (made.guid, made.keys.master, {})
    with pytest.raises(WrongKey):
        Repository.open(store, PASSPHRASE)
    opened.objects.survey()
    assert not opened.objects.strangers
    for name in (CONFIG, CONFIG_COPY):
        (tmp_path / name).unlink()
    with pytest.raises(HaulbackError):  # `repair` writes the configuration again
        Repository.open(store, SECRET)


def test_a_slot_of_another_repository_opens_nothing(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    stores = [Folder(tmp_path / name) for name in "ab"]
    added = Secret("keyfile", b"a key that is added later, 32 bytes")
    for store in stores:
        Repository.init(store, SECRET)
    let_open(Repository.open(stores[0], SECRET), added)
    stores[1].store("slots/00000001", stores[0].load("slots/00000001"))
    with pytest.raises((WrongKey, Damaged)):
        Repository.open(stores[1], added)


def test_a_damaged_slot_is_found_and_set_aside_until_its_secret_gets_another_slot(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "w").mkdir()
    store, added = Folder(tmp_path / "d"), Secret("keyfile", b"a key added later, of 32 bytes..")
    made = Repository.init(store, SECRET)
    made.begin_writing()
    let_open(made, added)
    slot = tmp_path / "d" / "slots" / "00000001"
    whole = slot.read_bytes()
    with ThreadPoolExecutor(1) as pool:
        assert verify(Repository.open(store, SECRET), Depth.MAPS, Resources(pool)).ok
        for at in range(0, len(whole), 7):
            slot.unlink()
            slot.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            opened = Repository.open(store, SECRET)
            [finding] = verify(opened, Depth.MAPS, Resources(pool)).findings
            assert "slots/00000001" in finding
        context = RepairContext(tmp_path / "w", Resources(pool), lambda: ("a test", 1))
        done = repair(opened, context, apply=True)
    assert (done.aside, done.findings) == (["aside/slots/00000001"], [])
    with pytest.raises(WrongKey):
        Repository.open(store, added)
    assert let_open(Repository.open(store, SECRET), added)
    assert Repository.open(store, added).guid == opened.guid
