"""Projects by name: the words of people become the uuids of projects."""

from __future__ import annotations

from contextlib import suppress

from haulback.client.records import RecordCollection
from haulback.contract.projects import Project
from haulback.errors import Forbidden, NotFound


def project_uuid(projects: RecordCollection[Project], word: str) -> str:
    """The uuid of the project that a name, a guid or its beginning names; "" for "".

    A word that names no record is returned unchanged, since portals use uuids of projects without a
    record here. Raises Malformed with the candidates when several records fit.
    """
    if not word:
        return ""
    with suppress(NotFound, Forbidden):
        return projects.find(word).what.uuid
    return word
