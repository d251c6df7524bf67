"""Mutation testing of a pure package: a seeded sample of small faults, and tests that detect them.

Usage: scripts/mutants.py [PACKAGE ...] [--count N] [--seed S] [--seconds T] [--gate]
       scripts/mutants.py --share SEED   (a share of one package, both chosen by the seed)

Each mutant is one change of one module, made by mutmut's operators.  A fork of this process, which
has the libraries of the tests loaded, runs the package's unit tests with the changed module; a test
that fails kills the mutant, and so does the time limit.  Results are written one by one to
`soak/mutants-PACKAGE.json`: a second call continues.  Mutants without a visible effect are listed
with their reason in `scripts/equivalent_mutants.toml`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
import tomllib
import traceback
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import grimp
import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).parents[1]
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["haulback"]
PACKAGES: dict[str, dict[str, list[str]]] = SETTINGS["mutants"]
EQUIVALENT = ROOT / "scripts" / "equivalent_mutants.toml"
# Seconds after which a share of a package ends, because the ordinary run of all tests has a time
# limit.
_SHARE_SECONDS = 90
SURVIVED, KILLED, TIMED_OUT = "survived", "killed", "timed out"


class Mutant(NamedTuple):
    """One change of a module: lines `before` become `after`; `source` is the whole changed
    module.
    """

    path: str
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> str:
        """Name of the mutant that does not depend on the surrounding lines."""
        text = f"{self.path}\0{self.before}\0{self.after}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class _Finder(cst.CSTVisitor):
    """Collects (node, replacement) pairs; annotations, docstrings and prose are skipped."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation | cst.Import | cst.ImportFrom | cst.Decorator):
            return False
        if isinstance(node, cst.Expr) and isinstance(node.value, cst.BaseString):
            return False
        if isinstance(node, cst.BaseString) and _is_prose(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                self.found += [(node, other) for other in operator(node)]
        return True


def _is_prose(node: cst.BaseString) -> bool:
    """Messages and pages are prose, whose words do not count as behaviour."""
    return isinstance(node, cst.SimpleString) and " " in node.value


def mutants_of(path: str) -> list[Mutant]:
    """All mutants of a module, each once."""
    text = (ROOT / path).read_text()
    wrapper = MetadataWrapper(cst.parse_module(text))
    finder = _Finder()
    wrapper.visit(finder)
    where = wrapper.resolve(PositionProvider)
    found: dict[str, Mutant] = {}
    for node, other in finder.found:
        changed = wrapper.module.deep_replace(node, other).code
        if one := _mutant(path, text, changed, where[node].start.line):
            found.setdefault(one.key, one)
    return list(found.values())


def _mutant(path: str, text: str, changed: str, line: int) -> Mutant | None:
    """The mutant, or None if the syntax tree stays the same or the result is not valid Python."""
    try:
        if _tree(text) == ast.dump(ast.parse(changed)):
            return None
    except SyntaxError:
        return None
    old, new = text.splitlines(), changed.splitlines()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return Mutant(path, line, _plain(old), _plain(new), changed)


@cache
def _tree(text: str) -> str:
    return ast.dump(ast.parse(text))


def _plain(lines: list[str]) -> str:
    return "\n".join(line.strip() for line in lines)


def equivalents() -> dict[str, str]:
    """Keys of the mutants that change no behaviour, and the reason for each."""
    rows = tomllib.loads(EQUIVALENT.read_text()).get("mutant", [])
    return {Mutant(r["path"], 0, r["before"], r["after"], "").key: r["reason"] for r in rows}


def sources(package: str) -> list[str]:
    """Paths of the modules of a package.  Raises SystemExit for a pattern without a module."""
    found: list[str] = []
    for pattern in PACKAGES[package]["sources"]:
        paths = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern))
        if not paths:
            raise SystemExit(f"mutants: no module is called {pattern}: correct pyproject.toml")
        found += [path for path in paths if not path.endswith("__init__.py")]
    return found


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads one module from a changed text; the file stays unchanged."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> Any:
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _Hook(importlib.abc.MetaPathFinder):
    """Gives the import system the changed module in place of the stored one."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = module_of(mutant.path)
        self.loader = _Changed(self.name, str(ROOT / mutant.path), mutant.source)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self.loader)


class _QuickFirst:
    """Runs tests of single examples before property-based ones, which take far longer."""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: hasattr(item.obj, "hypothesis"))


def own_tests(package: str, path: str) -> list[str]:
    """The test file that mirrors a module, if the package has one, because it kills most mutants.

    `src/haulback/policy/space.py` is tested by `tests/unit/policy/test_space.py`.
    """
    name = f"test_{Path(path).name}"
    places = [ROOT / tests for tests in PACKAGES[package]["tests"]]
    files = [place / name if place.is_dir() else place for place in places]
    return [str(file) for file in files if file.name == name and file.exists()]


def _pytest(tests: list[str]) -> int:
    import pytest
    from hypothesis import Phase, settings

    # The search for the smallest example takes time and changes no result.
    settings.register_profile(
        "mutants",
        deadline=None,
        database=None,
        max_examples=50,
        phases=(Phase.explicit, Phase.generate),
    )
    given = ("-x", "-q", "-p", "no:cacheprovider", "--assert=plain")
    for plugin in ("xdist", "schemathesis", "unraisableexception", "threadexception"):
        given += ("-p", f"no:{plugin}")
    fixed = ("--hypothesis-profile=mutants", "--hypothesis-seed=0")
    return int(pytest.main([*given, *fixed, *tests], plugins=[_QuickFirst()]))


def forked(package: str, mutant: Mutant | None, seconds: float) -> tuple[str, float]:
    """Outcome and duration (s) of the package's tests in a fork, with or without a mutant."""
    begun = time.monotonic()
    pid = os.fork()
    if not pid:
        _child(package, mutant)
    outcome = _await(pid, begun + seconds)
    return outcome, time.monotonic() - begun


def _child(package: str, mutant: Mutant | None) -> None:
    """Run the tests and end the process: 0 when all passed."""
    code = 1
    try:
        os.setpgid(0, 0)
        sink = os.open(ROOT / "soak" / "mutants.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        own: list[str] = []
        if mutant:
            sys.meta_path.insert(0, _Hook(mutant))
            own = own_tests(package, mutant.path)
        code = _pytest(own) if own else 0
        code = code or _pytest(PACKAGES[package]["tests"])
    except BaseException:  # noqa: BLE001  # the fork must never return into the caller's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _await(pid: int, until: float) -> str:
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return SURVIVED if status == 0 else KILLED
        time.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return TIMED_OUT


def preload(package: str) -> None:
    """Import all modules that the package's tests need in this process, so that forks need not
    import these modules.

    Modules that import a module of the package are left to the forks, because a fork changes one of
    those.
    """
    script = (
        "import sys, pytest, json\n"
        "out = sys.stdout; sys.stdout = sys.stderr\n"
        "pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider', *sys.argv[1:]])\n"
        "json.dump(list(sys.modules), out)"
    )
    run = [sys.executable, "-c", script, *PACKAGES[package]["tests"]]
    listed = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    left = changing(package)
    for name in json.loads(listed[listed.rindex("[") :]):
        if name.partition(".")[0] not in ("tests", "__main__") and name not in left:
            # A fork imports modules that cannot be imported alone.
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def changing(package: str) -> set[str]:
    """Names of the package's modules and of all modules that import them, even indirectly."""
    graph = grimp.build_graph("haulback", cache_dir=None)
    names = {module_of(path) for path in sources(package)}
    return names.union(*(graph.find_downstream_modules(name) for name in names))


def module_of(path: str) -> str:
    return path.removeprefix("src/").removesuffix(".py").replace("/", ".")


def digest(paths: list[str]) -> str:
    """Hash of the files below `paths`."""
    hasher = hashlib.sha256()
    for path in paths:
        whole = ROOT / path
        for file in [whole] if whole.is_file() else sorted(whole.rglob("*.py")):
            hasher.update(file.read_bytes())
    return hasher.hexdigest()[:16]


class Record:
    """The results of a package's sample in `soak/mutants-PACKAGE.json`.

    Results are kept while modules, seed and count stay the same; new tests run the survivors again.
    """

    def __init__(self, package: str, seed: int, count: int, name: str = "mutants") -> None:
        self.path = ROOT / "soak" / f"{name}-{package}.json"
        head = {
            "package": package,
            "seed": seed,
            "count": count,
            "sources": digest(sources(package)),
        }
        tests = digest(PACKAGES[package]["tests"])
        known = json.loads(self.path.read_text()) if self.path.exists() else {}
        same = {name: known.get(name) for name in head} == head
        rows = known.get("mutants", {}) if same else {}
        if known.get("tests") != tests:
            rows = {key: row for key, row in rows.items() if row["outcome"] != SURVIVED}
        self.data = {**head, "tests": tests, "commit": _commit(), "mutants": rows}

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.data["mutants"]
        return found

    def add(self, mutant: Mutant, outcome: str) -> None:
        row = {"path": mutant.path, "line": mutant.line}
        row |= {"before": mutant.before, "after": mutant.after, "outcome": outcome}
        self.rows[mutant.key] = row
        self.write()

    def write(self) -> None:
        self.data["counts"] = dict(Counter(row["outcome"] for row in self.rows.values()))
        temp = self.path.with_suffix(".part")
        temp.write_text(json.dumps(self.data, indent=1))
        temp.replace(self.path)


def _commit() -> str:
    run = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def sample(package: str, seed: int, count: int) -> list[Mutant]:
    """A seeded sample of the package's mutants without the equivalent mutants; all of them if there
    are few.
    """
    known = equivalents()
    every = [one for path in sources(package) for one in mutants_of(path)]
    # Drawn before equivalent mutants are left out, so that the sample stays the same.
    random.Random(seed).shuffle(every)
    return [one for one in every if one.key not in known][:count]


def run(package: str, chosen: list[Mutant], record: Record, seconds: float) -> bool:
    """Run the mutants without a result, for at most `seconds`; True once all have one."""
    todo = [one for one in chosen if one.key not in record.rows]
    if not todo:
        return True
    until = time.monotonic() + seconds
    preload(package)
    gc.freeze()  # forks then do not copy the memory of the preloaded modules
    outcome, usual = forked(package, None, 300)
    if outcome != SURVIVED:
        raise SystemExit(f"mutants: the tests of {package} fail without a mutant: soak/mutants.out")
    for one in todo:
        if time.monotonic() > until:
            return False
        record.add(one, forked(package, one, 10 + 5 * usual)[0])
    return True


def report(package: str, chosen: list[Mutant], record: Record) -> float:
    """Print the survivors and the counts; returns the killed share in percent."""
    rows = [record.rows[one.key] for one in chosen if one.key in record.rows]
    survivors = [row for row in rows if row["outcome"] == SURVIVED]
    for row in sorted(survivors, key=lambda row: (row["path"], row["line"])):
        print(f"{row['path']}:{row['line']}\n  - {row['before']}\n  + {row['after']}")
    share = 100 * (len(rows) - len(survivors)) / max(1, len(rows))
    data = record.data
    print(
        f"MUTANTS={package} seed={data['seed']} commit={data['commit']} run={len(rows)}"
        f" of={len(chosen)} killed={len(rows) - len(survivors)} survived={len(survivors)}"
        f" share={share:.1f}%"
    )
    return share


def wanted(count: int, *, is_share: bool) -> float:
    """The share of killed mutants (%) that a sample must reach; a small share may be lower by
    chance.

    Three standard deviations of a share of `count` mutants reject about one good commit in a
    thousand.
    """
    percent: float = SETTINGS["mutants_killed_percent"]
    return percent - 3 * (percent * (100 - percent) / max(1, count)) ** 0.5 * is_share


def whole(given: argparse.Namespace) -> int:
    """Run the sample of each given package; returns 0 for success, 1 for too many survivors, 75 if
    the time has run out.
    """
    code = 0
    until = time.monotonic() + given.seconds
    for package in given.package or PACKAGES:
        chosen = sample(package, given.seed, given.count)
        record = Record(package, given.seed, given.count)
        done = run(package, chosen, record, until - time.monotonic())
        share = report(package, chosen, record)
        if not done:
            return 75
        if given.gate and share < wanted(len(chosen), is_share=False):
            code = 1
    return code


def share(seed: int) -> int:
    """Run a share of the mutants of one package; returns 1 if more survive than chance explains."""
    package = sorted(PACKAGES)[seed % len(PACKAGES)]
    count = (
        SETTINGS["families"]["mutants"]["cases"] * len(PACKAGES) * SETTINGS["share_percent"] // 100
    )
    chosen = sample(package, seed, count)
    record = Record(package, seed, count, "share")
    run(package, chosen, record, _SHARE_SECONDS)
    killed = report(package, chosen, record)
    return int(killed < wanted(len(record.rows), is_share=True))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("package", nargs="*", help=f"of {', '.join(PACKAGES)}; none: all")
    parser.add_argument("--count", type=int, default=SETTINGS["families"]["mutants"]["cases"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--gate", action="store_true", help="fail below the wanted share")
    parser.add_argument("--share", type=int, metavar="SEED")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    (ROOT / "soak").mkdir(exist_ok=True)
    return whole(given) if given.share is None else share(given.share)


if __name__ == "__main__":
    raise SystemExit(main())
