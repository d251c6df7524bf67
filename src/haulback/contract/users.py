"""Requests and answers of /session, /users and /roles."""

from __future__ import annotations

import msgspec


class Privilege(msgspec.Struct):
    """A privilege of a user, by name."""

    name: str


class UserSettings(msgspec.Struct):
    """Settings of a user for portals."""

    unmountPeriodForMountedBackups: int


class User(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A user."""

    guid: str
    login: str
    name: str
    roles: list[str]
    privileges: list[Privilege]
    uiTimeZone: str
    appUserSettings: UserSettings
    projects: list[str] | None = None


class Role(msgspec.Struct):
    """A role and its purpose."""

    name: str
    description: str


class NewUser(msgspec.Struct):
    """Request to add a user; without `projects` the user sees all projects."""

    login: str
    password: str
    roles: list[str]
    projects: list[str] | None = None
    uiTimeZone: str = "UTC"


class ChangedUser(msgspec.Struct):
    """Changes of a user; absent members stay.  `allProjects` lifts the limit to projects."""

    password: str | None = None
    roles: list[str] | None = None
    projects: list[str] | None = None
    allProjects: bool | None = None
    uiTimeZone: str | None = None


class Login(msgspec.Struct):
    """Credentials."""

    login: str
    password: str
