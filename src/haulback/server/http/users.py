"""Sessions, users, roles, API tokens, and the audit log."""

from __future__ import annotations

import zoneinfo

from haulback import credentials
from haulback.contract.audit import AuditEntry
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import (
    ADMINISTRATOR,
    ADMINS,
    NODE,
    OPERATOR,
    PEOPLE,
    PUBLIC,
    RESTORER,
    ROLES,
    VIEWER,
)
from haulback.contract.tokens import NewToken, Token
from haulback.contract.users import ChangedUser, Login, NewUser, Privilege, Role, User, UserSettings
from haulback.errors import Forbidden, Malformed
from haulback.ids import new_guid
from haulback.server.caller import Account, ApiToken
from haulback.server.http import query_params, request_body
from haulback.server.http.operation import GUID, NUMBER, ApiRequest, Param, Reply, Router
from haulback.server.services import record_losses, users
from haulback.texts import check_name

_DAY_MS = 86_400_000
_LEAST = [VIEWER]  # roles of an API token whose request names none
_MOST_ENTRIES = 1000  # entries of a page of the audit log
# The privileges that portals check before they show a page, by role.
_READ = (
    "NODE_READ",
    "VE_BACKUP_SLA_READ",
    "APP_BACKUP_SLA_READ",
    "STORAGE_BACKUP_SLA_READ",
    "CLOUD_BACKUP_SLA_READ",
    "TASK_READ",
)
_MORE = {
    OPERATOR: ("TASK_WRITE", "VE_BACKUP"),
    RESTORER: ("TASK_WRITE", "VE_RESTORE"),
    ADMINISTRATOR: (
        "TASK_WRITE",
        "VE_BACKUP",
        "VE_RESTORE",
        "VE_BACKUP_SLA_WRITE",
        "MGMT_RBAC_ACCESS_READ",
    ),
}
room = Router()


@room(
    "POST",
    "/session/login",
    "Log in.",
    request=Login,
    answer=User,
    body=request_body.STRANGERS,
    slow=True,
    roles=PUBLIC,
    examples=[{"login": "admin", "password": "secret"}],
)
def log_in(call: ApiRequest) -> Reply:
    """The user; the session token is in the cookie, and in X-Session-Token for programs."""
    wanted: Login = call.read(Login)
    who, token = users.log_in(call.app, wanted.login, wanted.password, call.place)
    return Reply(_user(who), headers={"X-Session-Token": token}, cookie=token)


@room(
    "POST",
    "/session/logout",
    "Log out.",
    status=201,
    roles=PEOPLE,
    projects=ProjectAccess.ACCOUNT,
    command="logout",
)
def log_out(call: ApiRequest) -> Reply:
    """End the session; its token becomes invalid."""
    if call.who.by_program or call.token is None:
        raise Malformed("an API token is not logged out; revoke it (DELETE /api-tokens/{guid})")
    users.log_out(call.app, call.who, call.token)
    return Reply(cookie="")


@room(
    "GET",
    "/user-info",
    "The user who is logged in.",
    answer=User,
    roles=PEOPLE,
    projects=ProjectAccess.ACCOUNT,
    command="user show",
)
def user_info(call: ApiRequest) -> User:
    """The user of the session or of the token."""
    assert call.who.account
    shown, listed = _user(call.who.account), call.who.scope.listed
    if call.who.scope.wanted is not None and listed is not None:
        shown.projects = sorted(listed)
    return shown


@room(
    "GET",
    "/roles",
    "All roles.",
    answer=Role,
    many=True,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="user roles",
)
def roles(call: ApiRequest) -> list[Role]:
    """All roles; users may have any role except `node`."""
    return [Role(name, about) for name, about in ROLES.items()]


@room("GET", "/users", "All users.", answer=User, many=True, roles=ADMINS, command="user ls")
def list_users(call: ApiRequest) -> list[User]:
    """All users, by login."""
    return [_user(account) for account in users.all_users(call.app)]


@room("GET", "/users/{guid}", "A user.", answer=User, roles=ADMINS)
def one_user(call: ApiRequest) -> User:
    """A user by its guid."""
    return _user(users.user(call.app, call.guid))


@room(
    "POST",
    "/users",
    "Add a user.",
    request=NewUser,
    answer=User,
    status=201,
    slow=True,
    roles=ADMINS,
    examples=[{"login": "eve", "password": "long enough", "roles": ["viewer"]}],
    command="user add eve --role viewer",
)
def add_user(call: ApiRequest) -> User:
    """Add a user."""
    wanted: NewUser = call.read(NewUser)
    who = Account(
        new_guid(),
        check_name(wanted.login, "login"),
        _roles(wanted.roles),
        _projects(wanted.projects),
        _zone(wanted.uiTimeZone),
    )
    stored = _hashed(call, wanted.password)
    users.add_user(call.app, call.who, who, stored)
    return _user(who)


@room(
    "PUT",
    "/users/{guid}",
    "Change a user.",
    request=ChangedUser,
    answer=User,
    slow=True,
    roles=ADMINS,
    examples=[{"roles": ["viewer"]}],
    command="user set USER --role operator",
    unasked="the user can log in again, and another change restores the old values",
)
def change_user(call: ApiRequest) -> User:
    """Change a user; the user's sessions end."""
    wanted: ChangedUser = call.read(ChangedUser)
    stored = _hashed(call, wanted.password) if wanted.password is not None else None

    def edit(account: Account) -> None:
        if wanted.roles is not None:
            account.roles = _roles(wanted.roles)
        if wanted.projects is not None or wanted.allProjects:
            account.projects = None if wanted.allProjects else _projects(wanted.projects)
        if wanted.uiTimeZone is not None:
            account.time_zone = _zone(wanted.uiTimeZone)

    return _user(users.change_user(call.app, call.who, call.guid, edit, stored))


@room(
    "DELETE",
    "/users/{guid}",
    "Remove a user.",
    status=204,
    roles=ADMINS,
    command="user rm USER",
    destroys=lambda call: record_losses.of_user(call.app, call.guid),
)
def remove_user(call: ApiRequest) -> None:
    """Remove a user with all sessions and API tokens."""
    users.remove_user(call.app, call.who, call.guid)


@room(
    "GET",
    "/api-tokens",
    "API tokens.",
    answer=Token,
    many=True,
    roles=PEOPLE,
    projects=ProjectAccess.ACCOUNT,
    command="token ls",
)
def list_tokens(call: ApiRequest) -> list[Token]:
    """API tokens of the caller; administrators of all projects see all tokens.

    A narrowed caller sees only tokens within the caller's projects.
    """
    return [_token(token) for token in users.api_tokens(call.app, call.who)]


@room(
    "POST",
    "/api-tokens",
    "Make an API token.",
    request=NewToken,
    answer=Token,
    status=201,
    roles=PEOPLE,
    projects=ProjectAccess.ACCOUNT,
    examples=[{"name": "exporter", "roles": ["viewer"], "validFor": 31536000000}],
    command="token add exporter --role viewer --days 30",
)
def add_token(call: ApiRequest) -> Token:
    """Make a token for programs; only this answer shows it."""
    wanted: NewToken = call.read(NewToken)
    if not 0 < len(wanted.name) <= 200:
        raise Malformed("name: send 1 to 200 characters", field="name")
    if wanted.validFor is not None and not 0 < wanted.validFor <= 10 * 365 * _DAY_MS:
        raise Malformed("validFor: send a time in ms, at most ten years", field="validFor")
    who = call.who.account
    assert who
    if call.who.by_program:
        raise Forbidden("a token cannot make another token, which could outlive the first; log in")
    granted = _roles(_LEAST if wanted.roles is None else wanted.roles)
    # An administrator has the rights of all roles, and every user those of a viewer.
    if ADMINISTRATOR not in who.roles and not set(granted) <= {*who.roles, *_LEAST}:
        raise Forbidden(
            "roles: a token cannot have a role that its user lacks; leave that role out"
        )
    within = _granted_projects(call, wanted.projects)
    made = ApiToken(new_guid(), wanted.name, who.guid, granted, 0, projects=within)
    token = users.add_api_token(call.app, call.who, made, wanted.validFor)
    shown = _token(made)
    shown.token = token
    return shown


@room(
    "DELETE",
    "/api-tokens/{guid}",
    "Revoke an API token.",
    status=204,
    roles=PEOPLE,
    projects=ProjectAccess.ACCOUNT,
    command="token rm TOKEN",
    destroys=lambda call: users.token_losses(call.app, call.who, call.guid),
)
def remove_token(call: ApiRequest) -> None:
    """Revoke an API token."""
    users.remove_api_token(call.app, call.who, call.guid)


@room(
    "GET",
    "/audit-log",
    "The audit log of changes.",
    answer=AuditEntry,
    many=True,
    query=(
        Param("subject", "The object that was changed.", GUID),
        Param("before", "Entries older than this number.", NUMBER),
        Param("size", "Number of entries, at most 1000.", NUMBER),
    ),
    roles=ADMINS,
    command="audit",
)
def audit_log(call: ApiRequest) -> list[AuditEntry]:
    """The newest entries first."""
    size = query_params.size(call, _MOST_ENTRIES, 100)
    subject = query_params.guid(call, "subject")
    before = query_params.number(call, "before", 1 << 53)
    return users.audit_log(call.app, subject, before, size)


def _granted_projects(call: ApiRequest, wanted: list[str] | None) -> list[str] | None:
    """The projects of a new token.

    Raises Malformed, and Forbidden for projects that the caller lacks.
    """
    scope = call.who.scope
    if wanted is None:
        own = [str(scope.project)] if scope.wanted is not None else scope.own
        return None if own is None else sorted(own)
    if not wanted:
        raise Malformed(
            "projects: name at least one project, or leave the member out", field="projects"
        )
    for project in _projects(wanted) or []:
        if not scope.allows(project):
            raise Forbidden(f"projects: {project[:80]!r} is not among your projects")
    return list(dict.fromkeys(wanted))


def _roles(wanted: list[str]) -> list[str]:
    people = sorted(set(ROLES) - {NODE})
    for role in wanted:
        if role not in people:
            raise Malformed(f"roles: {role[:40]!r} is not one of {', '.join(people)}")
    if not wanted:
        raise Malformed("roles: name at least one role", field="roles")
    return list(dict.fromkeys(wanted))


def _projects(wanted: list[str] | None) -> list[str] | None:
    for project in wanted or []:
        if not 0 < len(project) <= 80:
            raise Malformed("projects: give each project 1 to 80 characters", field="projects")
    return wanted


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise Malformed(f"uiTimeZone: {name[:40]!r} is not an IANA time zone") from None
    return name


def _hashed(call: ApiRequest, password: str) -> str:
    """The hash of a new password, computed outside transactions because it is slow on purpose."""
    credentials.check_new(password, "password")
    return users.hashed(call.app, password, call.place)


def _user(who: Account) -> User:
    names = dict.fromkeys((*_READ, *(n for role in who.roles for n in _MORE.get(role, ()))))
    return User(
        guid=who.guid,
        login=who.login,
        name=who.login,
        roles=who.roles,
        privileges=[Privilege(name) for name in names],
        uiTimeZone=who.time_zone,
        appUserSettings=UserSettings(_DAY_MS),
        projects=who.projects,
    )


def _token(one: ApiToken) -> Token:
    return Token(
        guid=one.guid,
        name=one.name,
        user=one.account,
        roles=one.roles,
        created=one.created,
        expires=one.expires,
        projects=one.projects,
    )
