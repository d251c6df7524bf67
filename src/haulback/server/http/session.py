"""Logging in and out."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.params import RawBody

from haulback.errors import Unauthenticated
from haulback.server.http.answers import answer, nothing
from haulback.server.http.callers import COOKIE, PUBLIC, Call, app_of, person, token_of
from haulback.server.http.threads import threaded
from haulback.server.store import access
from haulback.server.store.access import Account
from haulback.wire import request as decode

_PRIVILEGES = ("ADMIN", "TASK_READ", "TASK_WRITE", "NODE_READ")
_DAY_MS = 86_400_000


class Login(msgspec.Struct):
    """Credentials."""

    login: str
    password: str


@post("/session/login", opt=PUBLIC, status_code=200)
@threaded
def log_in(request: Call, body: RawBody) -> Response[bytes]:
    """The user; the session is in the cookie, and in X-Session-Token for programs."""
    wanted, app = decode(body, Login), app_of(request)
    with app.store.read() as sql:
        # Slow on purpose: not inside a transaction that others wait for.
        who = access.check_password(sql, wanted.login, wanted.password)
    with app.store.write() as sql:
        token = access.log_in(sql, who, app.clock.now_ms())
    made = answer(_user(who), headers={"X-Session-Token": token})
    made.cookies.append(
        Cookie(
            key=COOKIE,
            value=token,
            path="/",
            httponly=True,
            secure=request.url.scheme == "https",
            samesite="strict",
            max_age=access.LOGIN_MS // 1000,
        )
    )
    return made


@post("/session/logout", opt=PUBLIC)
@threaded
def log_out(request: Call) -> Response[bytes]:
    """The token is worth nothing any more."""
    token, app = token_of(request), app_of(request)
    if token is None:
        raise Unauthenticated("nobody is logged in")
    with app.store.write() as sql:
        access.log_out(sql, token)
    made = nothing(201)
    made.delete_cookie(COOKIE)
    return made


@get("/user-info")
@threaded
def user_info(request: Call) -> Response[bytes]:
    """Who is logged in."""
    return answer(_user(person(request)))


def _user(who: Account) -> dict[str, Any]:
    return {
        "guid": who.guid,
        "login": who.login,
        "name": who.login,
        "privileges": [{"name": name} for name in _PRIVILEGES],
        "uiTimeZone": "UTC",
        "appUserSettings": {"unmountPeriodForMountedBackups": _DAY_MS},
    }


ROUTES: list[Any] = [log_in, log_out, user_info]
