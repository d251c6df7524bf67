"""Each package of the product has a folder of unit tests, and each folder of tests a package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES, TESTS = ROOT / "src" / "haulback", ROOT / "tests" / "unit"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["haulback"]
PACKAGES = sorted(
    str(path.parent.relative_to(SOURCES))
    for path in [*SOURCES.glob("*/__init__.py"), *SOURCES.glob("server/*/__init__.py")]
)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_unit_tests_in_the_folder_of_its_name(package: str):
    assert (TESTS / package / "__init__.py").exists(), f"tests/unit/{package} is missing"
    assert list((TESTS / package).rglob("test_*.py")), f"tests/unit/{package} holds no test"


def test_a_folder_of_unit_tests_mirrors_a_package():
    folders = [path.parent.relative_to(TESTS) for path in TESTS.rglob("*/__init__.py")]
    strangers = [
        str(folder)
        for folder in folders
        if not (SOURCES / folder / "__init__.py").exists()
        and not (SOURCES / folder).with_suffix(".py").exists()
    ]
    assert strangers == []


@pytest.mark.parametrize("package", SETTINGS["mutants"])
def test_the_table_of_mutants_names_modules_and_tests_that_exist(package: str):
    row = SETTINGS["mutants"][package]
    assert [pattern for pattern in row["sources"] if not list(ROOT.glob(pattern))] == []
    assert [path for path in row["tests"] if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("family", SETTINGS["families"])
def test_the_table_of_families_names_tests_that_exist(family: str):
    row = SETTINGS["families"][family]
    assert [path for path in row["tests"] if not (ROOT / path).exists()] == []
    assert 0 < row["piece"] <= row["cases"]


def test_each_equivalent_mutant_has_its_reason_and_its_module():
    rows = tomllib.loads((ROOT / "scripts" / "equivalent_mutants.toml").read_text())["mutant"]
    for row in rows:
        assert (ROOT / row["path"]).exists(), row["path"]
        assert len(row["reason"]) > 20, row
        assert row["before"] != row["after"]
