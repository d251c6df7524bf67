"""The declaration of an operation decides its access, the size of its body and its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS, NODES, PEOPLE, PUBLIC
from haulback.errors import Malformed, NotFound
from haulback.server.caller import SYSTEM
from haulback.server.http.operation import (
    FLAG,
    GUID,
    NUMBER,
    PAGING,
    PROJECT,
    TEXT,
    ApiRequest,
    Operation,
    Param,
    Reply,
    Router,
    path_guid,
)
from haulback.server.http.request_body import PEOPLE as OF_PEOPLE
from haulback.server.http.request_body import PIECES, STRANGERS, Bounds

APP: Any = object()  # the declarations use no member of the application


def nothing(call: ApiRequest) -> None:
    """An operation that does nothing."""


def operation(**more: Any) -> Operation:
    usual = {"method": "GET", "path": "/x", "summary": "", "handle": nothing, "roles": ADMINS}
    return Operation(**{**usual, **more})


@pytest.mark.parametrize("limit", ProjectAccess)
def test_a_restricted_caller_reaches_what_the_operation_declares(limit: ProjectAccess):
    assert operation(projects=limit).access == limit
    assert operation(roles=PEOPLE | NODES, projects=limit).access == limit
    assert operation(roles=PUBLIC, projects=limit).access == ProjectAccess.ANYBODY
    assert operation(roles=NODES, projects=limit).access == ProjectAccess.NODE


def test_an_operation_that_declares_no_limit_refuses_restricted_callers():
    assert operation().access == ProjectAccess.WHOLE


def test_an_operation_is_known_by_method_and_path():
    assert operation(method="PUT", path="/x/{guid}").key == "PUT /x/{guid}"


def test_a_declaration_needs_no_more_than_its_roles():
    one = operation()
    flags = (one.many, one.status, one.query, one.waits, one.slow, one.examples, one.command)
    assert flags == (False, 200, (), False, False, (), "")
    assert (one.request, one.answer, one.request_schema, one.answer_schema) == (None,) * 4
    assert (one.body, one.vouched) == (OF_PEOPLE, None)


def test_a_body_is_read_for_operations_that_take_one():
    assert not operation().takes_body
    assert operation(request=str).takes_body
    assert operation(body=PIECES).takes_body
    assert not operation(body=STRANGERS).takes_body


def test_a_proof_in_the_head_allows_a_larger_body():
    def proof(app: Any, headers: Mapping[str, str]) -> bool:
        return app is APP and headers.get("x-proof") == "1"

    one = operation(body=STRANGERS, vouched=(proof, OF_PEOPLE))
    assert one.bounds(APP, {}) == STRANGERS
    assert one.bounds(APP, {"x-proof": "1"}) == OF_PEOPLE
    assert operation(body=STRANGERS).bounds(APP, {"x-proof": "1"}) == STRANGERS


def test_a_module_declares_its_operations_in_order():
    router = Router()
    first = router("GET", "/a", "One.", roles=PEOPLE, many=True)(nothing)
    router("POST", "/b", "Two.", roles=ADMINS)(nothing)
    assert first is nothing
    assert [one.key for one in router.operations] == ["GET /a", "POST /b"]
    assert router.operations[0] == Operation("GET", "/a", "One.", nothing, PEOPLE, many=True)
    assert Router().operations == []


def call(body: bytes = b"", bounds: Bounds = OF_PEOPLE, **headers: str) -> ApiRequest:
    return ApiRequest(APP, SYSTEM, "", [], headers, body, "", None, bounds)


@pytest.mark.parametrize(
    "value", ["return=representation", "wait=5, Return=Representation", "return = representation"]
)
def test_a_caller_may_ask_to_see_the_outcome(value: str):
    assert call(prefer=value).wants_representation


@pytest.mark.parametrize("value", ["", "return=minimal", "representation"])
def test_another_preference_does_not_show_the_outcome(value: str):
    assert not call(prefer=value).wants_representation
    assert not call().wants_representation


def test_a_body_is_read_as_its_type_and_no_deeper_than_its_operation_takes():
    assert call(b"[1, 2]").read(list[int]) == [1, 2]
    assert call(b'{"a": [1]}').parsed() == {"a": [1]}
    with pytest.raises(Malformed, match=r"^the body: 5 is not an array$") as told:
        call(b"5").read(list[int])
    assert told.value.details == {"field": ""}
    assert ApiRequest(APP, SYSTEM, "", [], {}, b"", "", None).bounds == OF_PEOPLE
    with pytest.raises(Malformed, match="nested more than 2 deep"):
        call(b"[[[1]]]", Bounds(100, 2, 100)).parsed()


def test_an_operation_of_nodes_knows_the_node_that_asks():
    with pytest.raises(AssertionError):
        _ = call().node


def test_a_reply_is_empty_until_it_says_something():
    one = Reply()
    assert (one.value, one.status, one.stream, one.cookie, one.raw) == (None,) * 5
    assert one.headers == {}


@given(st.uuids())
def test_a_guid_in_a_path_is_read_without_regard_to_case(guid: Any):
    assert path_guid(str(guid).upper(), "/x/{guid}") == str(guid)


@pytest.mark.parametrize("text", ["", "5", "x" * 99, "12345678-1234-5678-1234-5678123456780"])
def test_another_text_in_a_path_is_not_found(text: str):
    with pytest.raises(NotFound) as told:
        path_guid(text, "/x/{guid}/y")
    assert told.value.details == {"field": "guid"}
    assert told.value.message == f"there is no /x/{text[:60]}/y; a guid is a UUID"


def test_the_parameters_of_lists_are_those_of_the_contract():
    assert [item.name for item in PAGING] == ["page", "size", "filter", "orderBy", "direction"]
    sorts = [item.sort for item in PAGING]
    assert sorts == [NUMBER, NUMBER, TEXT, TEXT, {"enum": ["asc", "desc"]}]
    assert (PROJECT.name, PROJECT.sort) == ("project-uuid", TEXT)
    every = (*PAGING, PROJECT, Param("a", "b", TEXT))
    assert {item.many for item in every} == {False}
    assert all(item.about.endswith(".") for item in (*PAGING, PROJECT))
    assert dict(TEXT) == {"type": "string", "maxLength": 200}
    assert dict(GUID) == {"type": "string", "format": "uuid"}
    assert dict(NUMBER) == {"type": "integer", "minimum": 0, "maximum": 10_000_000}
    assert dict(FLAG) == {"type": "boolean"}
