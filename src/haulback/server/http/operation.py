"""Operations of the API: one declaration gives route, access rights, schema, example and
documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from haulback.contract.losses import Losses
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import NODES, PUBLIC, Roles
from haulback.errors import NotFound, Unauthenticated
from haulback.ids import is_guid
from haulback.server.caller import Caller, Node
from haulback.server.http.request_body import PEOPLE, PIECES, Bounds
from haulback.server.http.schemas import Schema, Schemas
from haulback.server.services.app import App
from haulback.wire import JsonMapping, parse, read


class Param(NamedTuple):
    """A query parameter; `sort` is a JSON schema; with `many` the parameter may be repeated."""

    name: str
    about: str
    sort: JsonMapping
    many: bool = False


TEXT: JsonMapping = {"type": "string", "maxLength": 200}
GUID: JsonMapping = {"type": "string", "format": "uuid"}
NUMBER: JsonMapping = {"type": "integer", "minimum": 0, "maximum": 10_000_000}
FLAG: JsonMapping = {"type": "boolean"}
PAGING = (
    Param("page", "Number of the page, from 0.", NUMBER),
    Param("size", "Number of rows of a page, at most 10000; 0: only the total.", NUMBER),
    Param("filter", "Text to search for, in any case.", TEXT),
    Param("orderBy", "The member to sort by.", TEXT),
    Param("direction", "Direction of the sort.", {"enum": ["asc", "desc"]}),
)
PROJECT = Param("project-uuid", "Limits the answer to one project.", TEXT)
GONE = Param(
    "gone", "Give up a lost object and everything that only this object could reach.", FLAG
)
DRY_RUN = Param("dryRun", "Answer what the operation would remove, and change nothing.", FLAG)


@dataclass(frozen=True)
class Reply:
    """An answer with headers or a status of its own.

    `stream` yields the bytes of a long body; `live` is an ASGI application that answers step by
    step.
    """

    value: object = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None
    cookie: str | None = None  # the token of a new session; "" ends the session
    live: Any = None
    raw: tuple[bytes, str] | None = None  # a body that is not JSON, and its media type


def _nobody() -> Caller:
    raise Unauthenticated("log in first (POST /api/session/login)")


@dataclass
class ApiRequest:
    """A request that passed the access check."""

    app: App
    who: Caller
    guid: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes
    place: str
    token: str | None
    bounds: Bounds = PEOPLE
    # Checks the access again; raises if the access has ended.
    readmit: Callable[[], Caller] = field(default=_nobody)

    def read(self, kind: object) -> Any:
        """The body as `kind`.  Raises Malformed."""
        return read(self.parsed(), kind, "")

    def parsed(self) -> object:
        """The body as any JSON value, no deeper than the operation allows.  Raises Malformed."""
        return parse(self.body, self.bounds.depth)

    @property
    def node(self) -> Node:
        """The node that sent the request, in an operation for nodes."""
        assert self.who.node
        return self.who.node

    @property
    def wants_representation(self) -> bool:
        """Whether the caller prefers the result in the answer (RFC 7240)."""
        return "return=representation" in self.headers.get("prefer", "").replace(" ", "").lower()


Handle = Callable[[ApiRequest], Any]
Preview = Callable[[ApiRequest], Losses]
SchemaOf = Callable[[Schemas, Schema], Schema]  # a function that changes the schema of a type


@dataclass(frozen=True)
class Operation:
    """Declaration of an operation: the only source of its route, access, schema and documents.

    `roles` may call the operation; the empty set needs no login.  `projects` limits callers who are
    restricted to projects, by default to a refusal.  `request` and `answer` are the types of the
    schemas; without `answer` the response has no body.  `request_schema` and `answer_schema` change
    the schema of a type. `many` is true if the answer is an array of `answer`.  `examples` are
    request bodies that clients send.  `command` is a command line that calls the operation, with
    words in capitals for objects; it is empty if no command calls the operation.  `waits` is true
    if the handler is called again at the next event, while the handler returns None and the caller
    wants to wait. `slow` is true if the handler waits for a node or a hash, so that it runs in
    separate threads. `body` limits the size of a body; `vouched` is a proof of identity that the
    head of a public operation may hold, with the limits that apply then.

    `destroys` lists the objects that a request would remove or change irrevocably: commands show
    this list and ask, and `dryRun=true` returns the list.  `rehearsed` is true if a dry run also
    carries the request out and rolls it back, so that it fails if the request would fail.
    `unasked` is the reason why an operation that removes something needs no question.
    """

    method: str
    path: str
    summary: str
    handle: Handle
    roles: Roles
    projects: ProjectAccess = ProjectAccess.WHOLE
    request: object = None
    answer: object = None
    request_schema: SchemaOf | None = None
    answer_schema: SchemaOf | None = None
    many: bool = False
    status: int = 200
    query: tuple[Param, ...] = ()
    waits: bool = False
    slow: bool = False
    examples: Sequence[object] = ()
    command: str = ""
    body: Bounds = PEOPLE
    vouched: tuple[Callable[[App, Mapping[str, str]], bool], Bounds] | None = None
    destroys: Preview | None = None
    rehearsed: bool = True
    unasked: str = ""

    def bounds(self, app: App, headers: Mapping[str, str]) -> Bounds:
        """The limits of a body, by the proof of identity in the head."""
        if self.vouched is not None and self.vouched[0](app, headers):
            return self.vouched[1]
        return self.body

    @property
    def params(self) -> tuple[Param, ...]:
        """The query parameters, with `dryRun` if the operation has a dry run."""
        return (*self.query, DRY_RUN) if self.destroys else self.query

    @property
    def takes_body(self) -> bool:
        """Whether the operation reads a body; other bodies are dropped."""
        return self.request is not None or self.body is PIECES

    @property
    def key(self) -> str:
        """Method and path, in the spelling of the access table."""
        return f"{self.method} {self.path}"

    @property
    def access(self) -> ProjectAccess:
        """Limits of a restricted caller; public operations and operations of nodes have limits of
        their own.
        """
        if self.roles == PUBLIC:
            return ProjectAccess.ANYBODY
        return ProjectAccess.NODE if self.roles == NODES else self.projects


class Router:
    """Collects the operations that a module declares; `more` are fields of Operation."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def __call__(
        self, method: str, path: str, summary: str, *, roles: Roles, **more: Any
    ) -> Callable[..., Handle]:
        def declare(handle: Handle) -> Handle:
            self.operations.append(Operation(method, path, summary, handle, roles, **more))
            return handle

        return declare


def path_guid(text: str, path: str) -> str:
    """The guid in a path, in lower case.  Raises NotFound for any other text."""
    if not is_guid(text.lower()):
        where = path.replace("{guid}", text[:60])
        raise NotFound(f"there is no {where}; a guid is a UUID", field="guid")
    return text.lower()
