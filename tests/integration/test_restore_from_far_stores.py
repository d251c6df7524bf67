"""A whole machine is restored from a bucket and from an SFTP server with the key alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from haulback.cli.repository_location import StoreOptions
from haulback.cli.repository_restore import NewMachineOptions, ls, restore_command
from haulback.contract.destination_types import settings_of
from haulback.inventory.destination_types import chosen
from tests import s3, sftp
from tests.hosts import needs_sshd
from tests.unit.cli.test_repository_restore import VARIABLES, XML, Shop, entity

STORES = [
    pytest.param("S3", lambda: s3.config_of(s3.new_bucket(), prefix="site"), id="s3"),
    pytest.param(
        "SFTP", lambda: sftp.server().settings("far-restore"), id="sftp", marks=needs_sshd
    ),
]


def options(kind: str, settings: Mapping[str, object], room: Path) -> StoreOptions:
    """The options of a command, with the secrets in files."""
    declared = settings_of(chosen(kind))
    secrets = [name for name in settings if declared[name].is_secret]
    for name in secrets:
        (room / f"secret-{name}").write_text(str(settings[name]))
    return StoreOptions(
        kind=kind,
        setting=[f"{name}={value}" for name, value in settings.items() if name not in secrets],
        secret=[f"{name}={room}/secret-{name}" for name in secrets],
    )


@pytest.mark.parametrize(("kind", "make"), STORES)
def test_a_whole_machine_comes_back_from_a_far_store(
    kind: str,
    make: Callable[[], Mapping[str, object]],
    tmp_path: Path,
    pool: ThreadPoolExecutor,
    capsys: pytest.CaptureFixture[str],
):
    shop = Shop(tmp_path, pool)
    made = shop.backed_up(entity())
    settings = make()
    store = options(kind, settings, tmp_path)
    far = store.opened()
    for path in sorted(path for path in shop.folder.rglob("*") if path.is_file()):
        far.store(str(path.relative_to(shop.folder)), path.read_bytes())
    capsys.readouterr()
    ls(key_file=shop.key, store=store)
    assert made.backup in capsys.readouterr().out
    target = NewMachineOptions(to=tmp_path / "out")
    restore_command("web", key_file=shop.key, store=store, target=target)
    folder = tmp_path / "out" / "web"
    assert (folder / "vda.raw").read_bytes() == shop.disks["vda"]
    assert (folder / "data disk.raw").read_bytes() == shop.disks["data disk"]
    assert (folder / "domain.xml").read_text() == XML
    assert (folder / "nvram.fd").read_bytes() == VARIABLES
