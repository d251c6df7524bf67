"""Modules, classes, docstrings and locals use the words of the glossary (docs/design/words.md)."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.style.sources import ROOT, SOURCES, TESTS, functions, name_of, nodes, parsed, refuse

GLOSSARY = ROOT / "docs" / "design" / "words.md"
ALLOWED = Path(__file__).parent / "words_to_mend.txt"

# Names of modules that a backup administrator cannot understand, besides those of the glossary.
OLD_NAMES = {
    "about",
    "access",
    "answers",
    "asked",
    "asking",
    "bell",
    "bring_back",
    "clean_up",
    "cut",
    "deliveries",
    "desk",
    "disks_derived",
    "door",
    "end",
    "exchange",
    "far",
    "feeding",
    "gone",
    "graves",
    "herald",
    "home",
    "hot",
    "how",
    "instant",
    "kept",
    "lasting",
    "layer",
    "leftovers",
    "life",
    "line",
    "link",
    "look",
    "movers",
    "near",
    "origins",
    "overview",
    "parts",
    "people",
    "person",
    "place",
    "places",
    "plans",
    "platforms",
    "raw_words",
    "reading",
    "recognise",
    "records_held",
    "reuse",
    "sample",
    "seam",
    "serve",
    "served",
    "shapes",
    "shared",
    "shelves",
    "site",
    "still",
    "stock",
    "story",
    "taken",
    "target",
    "thaw",
    "to_come",
    "trail",
    "upkeep",
    "vault",
    "views",
    "visible",
}
VAGUE = {"utils", "common", "manager", "helpers", "core", "misc", "base"}
# Nouns of the field that end like a participle.
NOUNS = {
    "compacting",
    "framing",
    "licensing",
    "logging",
    "mapping",
    "packing",
    "paging",
    "ping",
    "planning",
    "pricing",
    "routing",
    "scheduling",
    "setting",
    "staging",
    "string",
    "testing",
    "thing",
    "timing",
    "warning",
}
# First words of sentences that do not name the thing.
HEADLESS = {
    "anybody",
    "everybody",
    "he",
    "him",
    "how",
    "it",
    "its",
    "nobody",
    "one",
    "ones",
    "she",
    "somebody",
    "that",
    "there",
    "these",
    "they",
    "this",
    "those",
    "what",
    "whatever",
    "when",
    "whenever",
    "where",
    "wherever",
    "which",
    "whichever",
    "who",
    "whoever",
    "whom",
    "whose",
    "why",
}
VAGUE_LOCALS = {"one", "found", "what"}
LONG = 10  # lines of a function in which a vague local name is hard to follow


@cache
def refused_words() -> set[str]:
    """The single words in the last column of the glossary."""
    rows = [row.split("|") for row in GLOSSARY.read_text().splitlines() if row.startswith("| ")]
    words = {word.strip() for row in rows for word in row[3].split(",")}
    return {word for word in words if word.isidentifier()} - {"not"}


@cache
def refused_phrases() -> set[str]:
    """The terms of several words in the last column of the glossary."""
    rows = [row.split("|") for row in GLOSSARY.read_text().splitlines() if row.startswith("| ")]
    terms = {term.strip() for row in rows for term in row[3].split(",")}
    return {term for term in terms if " " in term}


def docstrings(path: Path) -> Iterator[str]:
    """Every docstring of a module."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in nodes(path):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield text


def is_headless(text: str) -> bool:
    """Whether a sentence starts with a question word or a pronoun."""
    first = re.match(r"[A-Za-z]+", text)
    return bool(first) and first[0].lower() in HEADLESS


def vague_locals(path: Path) -> set[str]:
    """The functions of more than ten lines with a local named `one`, `found` or `what`."""
    names = set()
    for function in functions(path):
        if (function.end_lineno or 0) - function.lineno < LONG:
            continue
        if VAGUE_LOCALS.intersection(map(bound_name, ast.walk(function))):
            names.add(function.name)
    return names


def bound_name(node: ast.AST) -> str | None:
    """The name that a node binds: a variable, a parameter, a caught error or a matched value."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return name
        case ast.arg(arg=name):
            return name
        case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name):
            return name
    return None


@cache
def exemptions() -> list[list[str]]:
    """The rows of the allow-list: a rule, and a path or a name that is exempt from the rule."""
    return [row.split() for row in ALLOWED.read_text().splitlines() if row]


def is_mended(path: Path, rule: str) -> bool:
    """Whether a rule holds for a module: no line of the allow-list exempts its path or package."""
    return not any(row[0] == rule and name_of(path).startswith(row[1]) for row in exemptions())


def checked(paths: list[Path], rule: str) -> list[Path]:
    """The modules for which a rule holds."""
    return [path for path in paths if is_mended(path, rule)]


def is_known(stem: str) -> bool:
    """Whether the name of a module is a noun that the field knows."""
    if stem in VAGUE | OLD_NAMES or stem in refused_words():
        return False
    last = stem.rpartition("_")[2]
    return not re.search(r"[a-z]{2}(ing|ed)$", last) or last in NOUNS


def noun_of(path: Path) -> str:
    """The name of a module, or of the package that the module opens."""
    return path.parent.name if path.stem == "__init__" else path.stem


def test_a_module_has_a_name_that_the_field_knows():
    refuse(name_of(path) for path in checked(SOURCES, "names") if not is_known(noun_of(path)))


def test_no_two_public_classes_have_one_name():
    classes = Counter(
        node.name
        for path in SOURCES
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    exempt = {row[1] for row in exemptions() if row[0] == "classes"}
    refuse({name for name, count in classes.items() if count > 1} - exempt)


def test_a_docstring_starts_with_the_thing():
    refuse(
        f"{name_of(path)}: {text!r}"
        for path in checked([*SOURCES, *TESTS], "docstrings")
        for text in docstrings(path)
        if is_headless(text)
    )


def test_a_long_function_has_no_local_called_one_found_or_what():
    refuse(
        f"{name_of(path)}: {name}"
        for path in checked([*SOURCES, *TESTS], "locals")
        for name in sorted(vague_locals(path))
    )


def test_no_page_and_no_module_uses_a_phrase_that_the_glossary_replaces():
    """Decisions keep the words of their time; the greeting of remote drivers is a protocol."""
    pages = [page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "decisions"]
    texts = {path: path.read_text() for path in (*pages, *SOURCES) if path != GLOSSARY}
    refuse(
        f"{name_of(path)}: {phrase}"
        for path, text in texts.items()
        for phrase in refused_phrases()
        if phrase in text.replace('b"haulback far end "', "")
    )
