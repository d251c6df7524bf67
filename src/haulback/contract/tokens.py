"""Requests and answers of /api-tokens."""

from __future__ import annotations

import msgspec


class Token(msgspec.Struct, omit_defaults=True, kw_only=True):
    """An API token; `token` is shown once.  Times in epoch ms."""

    guid: str
    name: str
    user: str
    roles: list[str]
    created: int
    expires: int | None = None
    projects: list[str] | None = None
    token: str | None = None


class NewToken(msgspec.Struct):
    """Request to make an API token; `roles` default to `viewer`, `validFor` in ms.

    `projects` default to the projects of the caller's token, or to all projects of the user.
    """

    name: str
    roles: list[str] | None = None
    validFor: int | None = None
    projects: list[str] | None = None
