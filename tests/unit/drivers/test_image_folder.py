"""Bad input in the image folder causes a clear error and hides no other machine."""

import json
import os
import shutil
import struct
from contextlib import contextmanager, suppress

import pytest

from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.drivers.imagefolder import machine_builder
from haulback.drivers.imagefolder.definition import folder_name, image_names
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.drivers.images import qemu
from haulback.errors import (
    Conflict,
    HaulbackError,
    Malformed,
    NotFound,
    SourceChanged,
    Unavailable,
    Unsupported,
)
from haulback.testing.crash import CrashingDisk, PowerLost
from haulback.testing.hypervisors import contents
from haulback.units import MIB
from tests.images import UUID, raw_machine

GOOD = "99999999-2222-4333-8444-555555555555"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "root").mkdir()
    raw_machine(tmp_path / "root", "good", GOOD)
    return ImageFolder(tmp_path / "root")


def only_problem(folder):
    """The only reported problem; the good machine is listed as well."""
    inventory = folder.inventory()
    assert [machine.uuid for machine in inventory.machines] == [GOOD]
    (problem,) = inventory.problems
    return problem.message


def disk(file, kind="raw", name="root"):
    return {"name": name, "file": file, "format": kind}


def new(name="web", uuid="", kind="raw", disks=None):
    return Machine(uuid, name, disks or (MachineDisk("root", MIB, kind),), {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "machine.json"),
        ("[1]", "object"),
        ('{"uuid": 7}', "uuid"),
        ("{" * 10, "machine.json"),
        ('{"x":' * 100_000 + "1" + "}" * 100_000, "deep"),
        ('{"x": "' + "a" * MIB + '"}', "larger"),
        (json.dumps({"uuid": "no", "name": "x"}), "not a uuid"),
        (json.dumps({"uuid": UUID, "name": ""}), "name"),
        (json.dumps({"uuid": UUID, "name": "a\nb"}), "name"),
        (json.dumps({"uuid": UUID, "name": "x", "disks": [disk("a"), disk("b")]}), "of its own"),
        (json.dumps({"uuid": UUID, "name": "x", "disks": [disk("a", "vmdk")]}), "vmdk"),
    ],
)
def test_a_bad_definition_is_a_problem_that_says_what_is_wrong(folder, text, says):
    (folder.root / "bad").mkdir()
    (folder.root / "bad" / "machine.json").write_text(text)
    assert says in only_problem(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"uuid": "%s",\n "name": "web" "disks": []}', "line 2, column 16 is not JSON"),
        ('{"uuid": "%s", "name": "web",\n "disks": [\n{"name": 1}]}', "line 3: `disks[0].name`"),
        ('{"uuid": "%s", "name": 7}', "line 1: `name`: expected `str`, got `int`; correct the"),
        ('{"uuid": "%s"}', "missing required field `name`; correct the member"),
    ],
)
def test_a_machine_with_a_broken_definition_is_refused_with_file_line_and_remedy(
    folder, text, says
):
    bad = raw_machine(folder.root, "bad")
    folder.machine(UUID)
    (bad / "machine.json").write_text(text % UUID)
    with pytest.raises(Malformed) as refused:
        folder.snapshot(UUID, "a1")
    assert str(refused.value.message).startswith(f"{bad}: machine.json: ")
    assert says in refused.value.message
    (bad / "machine.json").unlink()
    with pytest.raises(NotFound):
        folder.snapshot(UUID, "a1")


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../good/root.raw", "..", "a/b", "", "machine.json", "a\0b"]
)
def test_an_image_outside_of_the_machine_s_folder_is_refused(folder, file):
    raw_machine(folder.root, "bad", disks=[disk(file)])
    assert "file" in only_problem(folder)


def test_a_link_a_pipe_and_a_folder_are_no_images(folder):
    bad = raw_machine(folder.root, "bad")
    (bad / "root.raw").unlink()
    (bad / "root.raw").symlink_to("../good/root.raw")
    assert "symbolic link" in only_problem(folder)
    (bad / "root.raw").unlink()
    os.mkfifo(bad / "root.raw")
    assert "not a regular file" in only_problem(folder)
    (bad / "root.raw").unlink()
    (bad / "root.raw").mkdir()
    assert "not a regular file" in only_problem(folder)


def test_a_linked_folder_is_not_followed(folder, tmp_path):
    raw_machine(tmp_path, "elsewhere")
    (folder.root / "bad").symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in only_problem(folder)


def test_a_missing_image_is_named(folder):
    (raw_machine(folder.root, "bad") / "root.raw").unlink()
    assert "root.raw is missing" in only_problem(folder)
    with pytest.raises(Unavailable, match=r"root\.raw is missing"):
        folder.machine(UUID)


def test_images_without_a_definition_are_a_problem_and_other_folders_are_not(folder):
    (folder.root / "lost+found").mkdir()
    (folder.root / ".hidden").mkdir()
    (folder.root / "readme.txt").write_text("x")
    (folder.root / "bad").mkdir()
    (folder.root / "bad" / "disk.qcow2").write_bytes(b"")
    assert "no machine.json" in only_problem(folder)


def test_two_machines_of_one_uuid_are_both_refused(folder):
    raw_machine(folder.root, "one")
    raw_machine(folder.root, "two", UUID.upper())
    inventory = folder.inventory()
    assert [problem.where for problem in inventory.problems] == ["one", "two"]
    assert [machine.uuid for machine in inventory.machines] == [GOOD]
    with pytest.raises(Malformed, match="several machines"):
        folder.snapshot(UUID, "a")


def header(version=3, backing=0, size=MIB, crypt=0, incompatible=0):
    head = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", version, backing, 0, 16, size, crypt, *[0] * 6
    )
    return head + struct.pack(">QQQII", incompatible, 0, 0, 4, 104) + bytes(512)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"", "not a qcow2"),
        (b"QFI\xfb", "not a qcow2"),
        (header(version=9), "damaged"),
        (header(size=1 << 63), "damaged"),
        (header()[:80], "damaged"),
        (header(backing=200), "backing file"),
        (header(crypt=2), "encrypted"),
        (header(incompatible=4), "external data file"),
    ],
)
def test_a_qcow2_image_that_needs_more_than_itself_is_refused_unopened(folder, head, says):
    bad = raw_machine(folder.root, "bad", disks=[disk("root.qcow2", "qcow2")])
    (bad / "root.qcow2").write_bytes(head)
    assert says in only_problem(folder)


def test_without_qemu_s_tools_a_qcow2_disk_names_the_remedy(folder, monkeypatch):
    bad = raw_machine(folder.root, "web", disks=[disk("root.qcow2", "qcow2")])
    (bad / "root.qcow2").write_bytes(header())
    monkeypatch.setattr(qemu, "installed", lambda: False)
    assert folder.machine(UUID).disks == (MachineDisk("root", MIB, "qcow2"),)
    with pytest.raises(Unsupported, match="install qemu-utils"):
        folder.snapshot(UUID, "a")
    with pytest.raises(Unsupported, match="install qemu-utils"):
        folder.create(new(kind="qcow2"), "a")
    folder.snapshot(GOOD, "a").close()


@pytest.mark.parametrize("size", [0, 4096, 2 * MIB])
def test_an_image_that_changes_its_size_while_it_is_read_is_noticed(folder, size):
    snapshot = folder.snapshot(GOOD, "a")
    os.truncate(folder.root / "good" / "root.raw", size)
    with pytest.raises(SourceChanged):
        snapshot.close()
    snapshot.close()


def test_an_image_that_vanishes_or_is_replaced_while_it_is_read_is_noticed(folder):
    image = folder.root / "good" / "root.raw"
    snapshot = folder.snapshot(GOOD, "a")
    shutil.copy(image, image.with_name("other"))
    image.with_name("other").replace(image)
    with pytest.raises(SourceChanged, match="replaced"):
        snapshot.close()
    snapshot = folder.snapshot(GOOD, "a")
    image.unlink()
    with pytest.raises(SourceChanged, match="replaced"), snapshot:
        pass


def test_a_missing_root_is_not_an_empty_one(tmp_path):
    folder = ImageFolder(tmp_path / "away")
    for call in (folder.check, folder.inventory, lambda: folder.sweep(set())):
        with pytest.raises(Unavailable, match="missing"):
            call()


@pytest.mark.parametrize("attempt", ["", "../x", "a.b", "a/b", "a" * 65])
def test_an_attempt_s_name_cannot_leave_the_folder(folder, attempt):
    for call in (lambda: folder.snapshot(GOOD, attempt), lambda: folder.create(new(), attempt)):
        with pytest.raises(Malformed, match="attempt"):
            call()


def test_an_attempt_makes_one_machine_at_a_time(folder):
    with folder.create(new(), "a"), pytest.raises(Conflict, match="running twice"):
        folder.create(new(), "a")
    assert folder.sweep(set()) == []


@pytest.mark.parametrize(
    "name", ["../../etc", ".hidden", "a/b", "ä" * 200, "x\u202ey", " . ", "con"]
)
def test_any_name_becomes_a_harmless_folder(folder, name):
    safe = folder_name(name)
    assert "/" not in safe
    assert not safe.startswith(".")
    assert 0 < len(safe.encode()) <= 120


def test_disks_of_like_names_get_files_of_their_own():
    names = image_names([("a/b", "raw"), ("a_b", "raw"), ("A_B", "raw"), ("..", "qcow2")])
    assert names == ["a_b.raw", "a_b (2).raw", "A_B (3).raw", "machine.qcow2"]


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (new(name=""), Malformed),
        (new(name="a\nb"), Malformed),
        (new(uuid="x"), Malformed),
        (new(kind="vmdk"), Unsupported),
        (new(disks=(MachineDisk("a", 1, "raw"), MachineDisk("a", 1, "raw"))), Malformed),
        (new(disks=(MachineDisk("a", -1, "raw"),)), Malformed),
        (new()._replace(definition={"x": object()}), Malformed),
    ],
)
def test_what_cannot_become_a_machine_is_refused_before_anything_is_made(folder, wanted, error):
    with pytest.raises(error):
        folder.create(wanted, "a")
    assert folder.sweep(set()) == []


@pytest.mark.parametrize("fail_at", range(1, 12))
def test_a_power_loss_while_replacing_leaves_the_old_machine_or_the_new(
    folder, monkeypatch, fail_at
):
    disk = CrashingDisk(fail_at, seed=fail_at)
    new_machine = ImageFolder(folder.root, disk).create(new("good", GOOD), "dead", overwrite=True)
    new_machine.sink("root").write_at(0, b"n" * MIB)
    with monkeypatch.context() as death:
        death.setattr(
            machine_builder.shutil, "rmtree", lambda *_, **__: None
        )  # a killed attempt removes nothing
        with suppress(PowerLost):
            new_machine.commit()
    disk.drop_unsynced()
    folder.sweep(set())
    assert folder.inventory().problems == []
    assert contents(folder, GOOD) in ([b"r" * MIB], [b"n" * MIB])
    assert sorted(path.name for path in folder.root.iterdir()) == ["good"]


def with_more_disks(folder, *files):
    """The good machine, with disks that its backup lacks."""
    place = folder.root / "good"
    disks = [disk("root.raw"), *(disk(file, name=file) for file in files)]
    text = json.dumps({"uuid": GOOD, "name": "good", "disks": disks})
    (place / "machine.json").write_text(text)
    return Machine(GOOD, "good", (MachineDisk("root", MIB, "raw"),), json.loads(text))


@pytest.mark.parametrize("fail_at", range(1, 13))
def test_a_power_loss_while_replacing_never_costs_a_disk_that_is_not_restored(
    folder, monkeypatch, fail_at
):
    wanted = with_more_disks(folder, "data.raw")
    (folder.root / "good" / "data.raw").write_bytes(b"d" * MIB)
    power = CrashingDisk(fail_at, seed=fail_at)
    made = ImageFolder(folder.root, power).create(wanted, "dead", overwrite=True)
    made.sink("root").write_at(0, b"n" * MIB)
    with monkeypatch.context() as death:
        death.setattr(
            machine_builder.shutil, "rmtree", lambda *_, **__: None
        )  # a killed attempt removes nothing
        with suppress(PowerLost):
            made.commit()
    power.drop_unsynced()
    folder.sweep(set())
    assert folder.inventory().problems == []
    root, data = contents(folder, GOOD)
    assert root in (b"r" * MIB, b"n" * MIB)
    assert data == b"d" * MIB
    assert sorted(path.name for path in folder.root.iterdir()) == ["good"]


def test_a_file_that_is_no_image_comes_along_and_a_missing_one_does_not_matter(folder):
    wanted = with_more_disks(folder, "broken.qcow2", "missing.raw")
    text = (folder.root / "good" / "machine.json").read_text()
    text = text.replace('"broken.qcow2", "format": "raw"', '"broken.qcow2", "format": "qcow2"')
    (folder.root / "good" / "machine.json").write_text(text)
    (folder.root / "good" / "broken.qcow2").write_bytes(b"precious")
    with folder.create(wanted, "a1", overwrite=True) as made:
        assert [one.name for one in made.commit().disks] == ["root"]
    [kept] = (folder.root / "good").glob("broken*")
    assert kept.read_bytes() == b"precious"


def test_sweeping_finishes_a_removal_that_was_cut_off(folder, monkeypatch):
    with monkeypatch.context() as death:
        death.setattr(shutil, "rmtree", lambda *_, **__: None)
        folder.remove(GOOD)
    with pytest.raises(NotFound):
        folder.machine(GOOD)
    assert len(folder.sweep(set())) == 1
    assert list(folder.root.iterdir()) == []


def test_a_refused_import_tells_why_in_the_product_s_errors(folder):
    with pytest.raises(HaulbackError):
        folder.machine("not a uuid")


def test_a_folder_that_the_node_may_not_read_is_refused_with_the_user_and_the_right(folder):
    closed = folder.root.parent / "closed"
    (closed / "machines").mkdir(parents=True)
    bad = raw_machine(folder.root, "bad")
    closed.chmod(0)
    (bad / "machine.json").chmod(0)
    os.chmod(folder.root.parent, 0o755)
    with as_nobody(folder.root):
        for call in (ImageFolder(closed / "machines").check, lambda: folder.machine(UUID)):
            with pytest.raises(HaulbackError, match="give the user nobody the right"):
                call()


@contextmanager
def as_nobody(place):
    """Run as a user without rights, who may enter all folders above `place`."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    for above in place.parents[:4]:
        if above != above.parent and above.stat().st_uid == 0:
            above.chmod(above.stat().st_mode | 0o111)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
