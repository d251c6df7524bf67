"""The OpenAPI document is complete, and the server behaves as documented for any request."""

from __future__ import annotations

import random
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from haulback.contract.roles import NODE, NODES, ROLES
from haulback.server.http import openapi
from haulback.server.http.reference import OPERATIONS, TABLE
from tests import shares
from tests.contract.conftest import Served
from tests.contract.schema_exceptions import EXCEPTIONS, LEFT_OUT
from tests.contract.test_access import user

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import CHECKS, load_all_checks
    from schemathesis.generation import GenerationMode

load_all_checks()
_SKIPPED = [name for (name, operation) in EXCEPTIONS if operation == "*"]
_PATHS = sorted(key for key in TABLE if key not in LEFT_OUT)
_PLAIN = ("GET /docs", "GET /livez", "GET /readyz", "GET /openapi.json")


@cache
def document() -> dict[str, Any]:
    return openapi.document(OPERATIONS)


@cache
def schema() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module", params=["sqlite"])
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Served(tmp_path_factory.mktemp("served"))
    try:
        made.furnish()
        yield made
    finally:
        made.close()


def test_the_document_describes_every_operation(served: Served):
    result = served.call("GET", "/api/openapi.json", token=None).json()
    described = {
        f"{method.upper()} {path}"
        for path, methods in result["paths"].items()
        for method in methods
    }
    assert described == TABLE.keys()
    assert result["openapi"] == "3.1.0"
    identifiers = [item["operationId"] for m in result["paths"].values() for item in m.values()]
    assert len(set(identifiers)) == len(identifiers)
    for path, methods in result["paths"].items():
        for method, item in methods.items():
            assert item["summary"], path
            assert {"400", "401", "403", "404", "409"} <= item["responses"].keys()
            if method == "get" and path not in ("/docs",):
                assert any("content" in r for s, r in item["responses"].items() if s == "200")


def test_every_operation_with_a_body_shows_an_example():
    for path, methods in document()["paths"].items():
        for one in methods.values():
            if "requestBody" in one and path not in ("/nodes/enrol", "/nodes/session"):
                media = one["requestBody"]["content"]["application/json"]
                assert media["examples"], path


def test_every_example_of_a_request_is_understood(served: Served):
    """An example may name a missing object or an unavailable kind, but no example is malformed."""
    # With a second node, a new hypervisor has to name one.
    for operation in sorted(OPERATIONS, key=lambda item: item.key == "POST /nodes"):
        key, method, path = operation.key, operation.method, operation.path
        if key in LEFT_OUT or key == "POST /session/login":
            continue
        token = served.mover if TABLE[key] == NODES else served.person
        for body in operation.examples:
            filled = path.replace("{guid}", "f8f73bf9-2445-4bce-a7dd-753be3b40a67")
            answer = served.call(method, f"/api{filled}", body, token=token)
            assert answer.status_code in (200, 201, 204, 404, 409), (key, answer.text)


def test_the_page_for_people_needs_nothing_from_elsewhere(served: Served):
    answer = served.call("GET", "/api/docs", token=None)
    assert answer.headers["content-type"].startswith("text/html")
    assert "/tasks/export" in answer.text
    assert "http://" not in answer.text
    assert "https://" not in answer.text


def _agrees(served: Served, key: str, mode: GenerationMode, token: str, examples: int) -> None:
    """Check that the responses to requests of one mode match the document."""
    method, _, path = key.partition(" ")
    headers = {"authorization": f"Bearer {token}"}
    checks = [check for check in CHECKS.get_all() if check.__name__ not in _SKIPPED]
    cases = schema()[path][method].as_strategy(generation_mode=mode)

    @given(case=cases)
    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    def run(case: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.call_and_validate(
                base_url=f"{served.server.url}/api", headers=headers, checks=checks
            )

    run()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("key", _PATHS)
def test_the_server_does_what_the_document_says(served: Served, key: str, mode: GenerationMode):
    if mode is GenerationMode.NEGATIVE and key in _PLAIN:
        pytest.skip("it takes nothing that could be wrong")
    _agrees(served, key, mode, served.mover if TABLE[key] == NODES else served.person, 12)


@pytest.fixture(scope="module")
def tokens(served: Served) -> dict[str, str]:
    """A token for each role."""
    people = {role: user(served, role) for role in ROLES if role != NODE}
    return {**people, NODE: served.mover}


def _others() -> list[tuple[str, str]]:
    """Pairs of an operation and a role that tests/shares.py selects, spread over all of them."""
    every = [(key, role) for key in _PATHS for role in ROLES]
    random.Random(0).shuffle(every)
    places = {seed % len(every) for seed in shares.cases("schema").seeds}
    return sorted(every[place] for place in places)


@pytest.mark.parametrize(("key", "role"), _others())
def test_every_role_gets_answers_of_the_document(
    served: Served, tokens: dict[str, str], key: str, role: str
):
    _agrees(served, key, GenerationMode.POSITIVE, tokens[role], 4)


def test_every_exception_names_a_check_that_exists():
    known = {check.__name__ for check in CHECKS.get_all()}
    assert {name for name, _ in EXCEPTIONS} <= known
    assert all(reason for reason in EXCEPTIONS.values())
    assert Path(__file__).with_name("schema_exceptions.py").exists()


def _classes(name: str, schema: dict[str, Any]) -> Iterator[str]:
    """The classes that client generators make of a schema, each under the name of its location."""
    if schema.get("type") == "object" or "enum" in schema:
        yield name
    for number, arm in enumerate(schema.get("anyOf", [])):
        yield from _classes(f"{name}Type{number}", arm)
    for member, kind in schema.get("properties", {}).items():
        yield from _classes(f"{name}{member}", kind)
    if isinstance(items := schema.get("items"), dict):
        yield from _classes(f"{name}Item", items)
    if isinstance(more := schema.get("additionalProperties"), dict):
        yield from _classes(f"{name}AdditionalProperty", more)


def test_no_generator_gives_two_schemas_the_same_name():
    """Client generators name an object within a schema after the schema and the member, and write
    all names in one style, so that only letters and digits distinguish names.
    """
    schemas = document()["components"]["schemas"]
    names = [made for name, schema in schemas.items() for made in _classes(name, schema)]
    counts = Counter(re.sub(r"[^a-z0-9]", "", name.lower()) for name in names)
    assert [name for name in names if counts[name.lower()] > 1] == []
    assert len({name.lower() for name in schemas}) == len(schemas)
