"""The declared types of destinations equal the drivers in the package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from pathlib import Path

import pytest

from haulback import destinations
from haulback.contract.destination_types import TYPES, Capabilities, DestinationType
from haulback.destinations.folder import Folder
from haulback.destinations.read_ahead import ReadAhead
from haulback.destinations.registry import open_destination, usage
from haulback.destinations.settled_lists import SettledLists
from haulback.errors import Malformed


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_a_declared_type_has_a_driver_that_takes_its_settings(kind):
    module = importlib.import_module(f"haulback.destinations.{kind.driver}")
    hints = typing.get_type_hints(module.open_store)
    assert list(inspect.signature(module.open_store).parameters) == ["settings", "owner"]
    assert hints["settings"] is kind.settings
    assert hasattr(module, "usage") == kind.capabilities.usage


def test_every_driver_in_the_package_is_declared():
    modules = {found.name for found in pkgutil.iter_modules(destinations.__path__)}
    drivers = {
        name
        for name in modules
        if hasattr(importlib.import_module(f"haulback.destinations.{name}"), "open_store")
    }
    assert drivers == {kind.driver for kind in TYPES}


def test_names_and_drivers_of_types_are_unique():
    assert len({kind.name for kind in TYPES}) == len({kind.driver for kind in TYPES}) == len(TYPES)


def test_a_folder_opens_as_it_is_and_tells_its_space(tmp_path: Path):
    config = {"path": str(tmp_path)}
    store = open_destination("folder", config, "attempt-2")
    assert isinstance(store, Folder)
    assert (store.root, store.owner) == (tmp_path, "attempt-2")
    space = usage("folder", config)
    assert space
    assert 0 < space.free <= space.total


@pytest.mark.parametrize(
    ("driver", "config", "told"),
    [
        ("../folder", {"path": "/srv"}, "no destination driver"),
        ("protocol", {}, "no destination driver"),
        ("folder", {}, "path"),
        ("folder", {"path": "srv"}, "path"),
        ("folder", {"path": 7}, "path"),
        ("folder", {"path": "/srv", "bucket": "b"}, "bucket"),
    ],
)
def test_a_driver_that_is_unknown_or_settings_that_are_wrong_are_refused(driver, config, told):
    with pytest.raises(Malformed, match=told):
        open_destination(driver, config, "attempt-2")


@pytest.mark.parametrize(
    ("capabilities", "wrapper"),
    [
        (Capabilities(local_path=True), Folder),
        (Capabilities(), ReadAhead),
        (Capabilities(listing_delay=2.0), SettledLists),
        (Capabilities(local_path=True, listing_delay=2.0), SettledLists),
    ],
)
def test_the_capabilities_of_a_type_decide_how_its_store_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capabilities: Capabilities, wrapper: type
):
    declared = DestinationType("SHARE", "folder", TYPES[0].settings, capabilities)
    monkeypatch.setattr("haulback.destinations.registry.by_driver", lambda name: declared)
    config = {"path": str(tmp_path)}
    store = open_destination("folder", config, "attempt-2")
    assert type(store) is wrapper
    store.store("packs/a", b"x")
    assert store.load("packs/a") == b"x"
    assert usage("folder", config) is None
