"""Imports between modules and rooms: no circle anywhere, and few rooms and arrows in the server."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.style.sources import ROOT, SOURCES, nodes, refuse

MOST_ROOMS, MOST_ARROWS = 10, 20
SERVER = ("haulback", "server")


def module_of(path: Path) -> str:
    """The dotted name of a module; a package has the name of its folder."""
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(path: Path) -> Iterator[str]:
    """The names that a module imports, also inside functions and for types only."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imports() -> dict[str, set[str]]:
    """The modules of the product that each module imports."""
    known = {module_of(path): path for path in SOURCES}
    graph = {}
    for module, path in known.items():
        names = {name for name in imported_names(path) if name.startswith("haulback")}
        pairs = ((name, name.rpartition(".")[0]) for name in names)
        graph[module] = {name if name in known else parent for name, parent in pairs} - {module}
    return graph


def circle_of(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """The members of a circle of a graph, empty if it has none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def server_arrows() -> dict[str, set[str]]:
    """The rooms of the server with the rooms that each imports: packages and single modules."""
    arrows: dict[str, set[str]] = {}
    for module, targets in imports().items():
        inner = [name.split(".") for name in (module, *targets)]
        rooms = [parts[2] if len(parts) > 2 else "" for parts in inner if parts[:2] == [*SERVER]]
        if module.startswith("haulback.server."):
            room, *others = rooms
            arrows.setdefault(room, set()).update(set(others) - {room, ""})
    return arrows


def test_no_modules_import_each_other_in_a_circle():
    refuse(circle_of(imports()))


def test_no_rooms_of_the_server_import_each_other_in_a_circle():
    refuse(circle_of(server_arrows()))


def test_the_server_has_at_most_ten_rooms_and_twenty_arrows():
    arrows = server_arrows()
    assert len(arrows) <= MOST_ROOMS, sorted(arrows)
    assert sum(map(len, arrows.values())) <= MOST_ARROWS, arrows
