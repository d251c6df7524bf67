"""The pages about S3 and Azure, typed by a reader against real stores."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from haulback.cli.destination_settings import read_settings
from haulback.contract.destination_types import DestinationType, by_name
from haulback.testing.azure_server import ACCOUNT, KEY
from haulback.testing.s3_server import ADMIN
from tests import azure, s3
from tests.docs.test_how_to import DOCS, blocks
from tests.docs.test_second_copy import typed
from tests.hosts import needs_azurite
from tests.programs import Site

S3_PAGE, AZURE_PAGE = (DOCS / "howto" / f"store-on-{name}.md" for name in ("s3", "azure"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path / "site", lease=5.0)
    made.open()
    monkeypatch.chdir(tmp_path)
    yield made
    made.close()


def kind(name: str) -> DestinationType:
    made = by_name(name)
    assert made
    return made


def test_the_secrets_in_the_example_files_are_secrets_that_the_server_accepts(
    site: Site, tmp_path: Path
):
    files, add, *_ = blocks(S3_PAGE, "sh")
    typed(site, files.splitlines())
    words = add.split("haulback destination show")[0].split()
    options = [
        [word for before, word in itertools.pairwise(words) if before == option]
        for option in ("--set", "--secret")
    ]
    given = read_settings(kind("S3"), None, *options)
    assert given["deleteAccessKeyId"] == "AKIADELETE"


def test_the_commands_for_a_bucket_add_test_and_lock(site: Site, tmp_path: Path):
    _, add, lock = blocks(S3_PAGE, "sh")
    for name in ("add", "delete"):
        (tmp_path / f"{name}-id").write_text(f"{ADMIN.key_id}\n")
        (tmp_path / f"{name}-secret").write_text(f"{ADMIN.secret}\n")
    shown = [block.replace("https://s3.example.com", s3.server().endpoint) for block in (add, lock)]
    typed(site, shown)
    rows = site.api.get("/backup-destinations")
    made = {row["name"]: site.api.get(f"/backup-destinations/{row['guid']}") for row in rows}
    assert made["bucket"]["initialized"]
    assert made["vault"]["probe"]["immutable"] == "STORE"


@needs_azurite
def test_the_commands_for_a_container_add_and_test(site: Site, tmp_path: Path):
    azure.server().make_container("vault")
    (tmp_path / "account-key").write_text(f"{KEY}\n")
    [block] = blocks(AZURE_PAGE, "sh")
    place = f"--set account={ACCOUNT} --set endpoint={azure.server().endpoint}"
    typed(site, [block.replace("--set account=haulbackstore", place)])
    [made] = [row for row in site.api.get("/backup-destinations") if row["name"] == "cloud"]
    assert made["initialized"]
