"""The how-to adds a driver to a copy of the tree; its hypervisors are added by the type's label."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

import haulback
from tests.docs.test_how_to import DOCS, site_of
from tests.images import UUID, raw_machine
from tests.programs import Site

PAGE = DOCS / "howto" / "add-a-driver.md"
SOURCE = Path(haulback.__file__).parent
TYPE = """SHELF = IMAGE_FOLDER._replace(driver="shelf", label="SHELF", words="a shelf of images")
"""
DRIVER = '''"""A shelf of machines, which is a folder of images by another name."""

from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.hypervisor_types import SHELF


class Shelf(ImageFolder):
    declaration = SHELF
'''


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product with a declared type, its driver, and the line of the registry."""
    root = tmp_path_factory.mktemp("tree")
    copytree(SOURCE, root / "haulback", ignore=ignore_patterns("__pycache__"))
    types = root / "haulback" / "hypervisor_types.py"
    text = types.read_text().replace(
        "LIBVIRT = HypervisorType(", f"{TYPE}LIBVIRT = HypervisorType("
    )
    types.write_text(text.replace("(IMAGE_FOLDER, LIBVIRT)}", "(IMAGE_FOLDER, LIBVIRT, SHELF)}"))
    package = root / "haulback" / "drivers" / "shelf"
    package.mkdir()
    (package / "__init__.py").write_text('"""Shelves."""\n')
    (package / "driver.py").write_text(DRIVER)
    registry = root / "haulback" / "drivers" / "registry.py"
    text = registry.read_text()
    text = text.replace("\nConfig =", "\nfrom haulback.drivers.shelf.driver import Shelf\nConfig =")
    last = "    LIBVIRT.driver: _libvirt,\n"
    added = '    "shelf": lambda config: Shelf(_path(config)),\n'
    registry.write_text(text.replace(last, last + added))
    return root


@pytest.fixture(scope="module")
def site(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server and a node that run the copy."""
    with site_of(tree, tmp_path_factory.mktemp("site")) as made:
        yield made


def run(site: Site, *command: str) -> subprocess.CompletedProcess[str]:
    """A command of the copy that has ended."""
    token = site.api.post("/api-tokens", {"name": command[2], "roles": ["administrator"]})
    env = os.environ | {"HAULBACK_SERVER": site.api.url, "HAULBACK_TOKEN": token["token"]}
    return subprocess.run(
        [sys.executable, "-m", *command], env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("verb", "name"), [("add", "first"), ("try", "second")])
def test_a_hypervisor_of_the_type_is_added_as_the_page_shows(
    site: Site, tmp_path: Path, verb: str, name: str
):
    typed = "haulback hypervisor add first /srv/machines --type LABEL"
    assert f"`{typed}`" in PAGE.read_text()
    uuid = UUID.replace("1", str(len(verb)))
    raw_machine(tmp_path, f"web-{name}", uuid)
    line = typed.replace("/srv/machines", str(tmp_path)).replace("LABEL", "shelf")
    done = run(site, *line.replace("add first", f"{verb} {name}").split())
    assert done.returncode == 0, (done.stderr, site.log.read_text()[-3000:])
    assert "machines found: 1" in done.stdout
    [shelf] = [row for row in site.api.get("/hypervisors") if row["name"] == name]
    assert (shelf["type"]["name"], shelf["driver"]) == ("SHELF", "shelf")
    [machine] = [row for row in site.api.get("/virtual-machines") if row["name"] == f"web-{name}"]
    assert site.backed_up(machine["guid"])


def test_a_type_that_is_not_declared_is_refused_with_the_list_of_types(site: Site, tmp_path: Path):
    done = run(site, *f"haulback hypervisor add third {tmp_path} --type SHELVE".split())
    assert done.returncode != 0
    assert "type: 'SHELVE' is not one of IMAGE_FOLDER, KVM, SHELF" in done.stderr
    assert "third" not in [row["name"] for row in site.api.get("/hypervisors")]
