"""Limits for callers who may see some projects only."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class ProjectAccess(Enum):
    """Limits that an operation sets for callers of some projects; the value is the word in the
    table of access rights.
    """

    ANYBODY = "anybody"
    ACCOUNT = "own login"
    COMMON = "common"
    OBJECTS = "own objects"
    USE = "own and shared"
    CHANGE = "own"
    WHOLE = "403"
    NODE = "node"


_P = ProjectAccess
ABOUT: Final[Mapping[ProjectAccess, str]] = {
    _P.ANYBODY: "No login is needed; the answer holds no data of a project.",
    _P.ACCOUNT: "Concerns the caller's own account, and tokens within the caller's projects.",
    _P.COMMON: "The same answer for all projects; figures count the caller's projects only.",
    _P.OBJECTS: "Objects of other projects and of no project are hidden: 404, absent from lists, "
    "ignored by bulk operations.",
    _P.USE: "Records of no project can be read and used; records of other projects are hidden: "
    "404.",
    _P.CHANGE: "Records of no project are 403, those of other projects 404; a new record "
    "belongs to the caller's project.",
    _P.WHOLE: "Acts on a shared object or on all projects: 403 for every restricted caller.",
    _P.NODE: "For nodes only: the tasks that a node runs, has run or may start.",
}
