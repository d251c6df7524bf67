"""The projects of a caller: the projects of account and token, restricted by the request."""

from __future__ import annotations

from typing import NamedTuple

from haulback.errors import Forbidden, Malformed, NotFound


class Scope(NamedTuple):
    """`own` are the projects of account and token, None for all projects.

    `wanted` is the requested project.

    A request can restrict the projects further but never add projects.  For a caller who is
    restricted to projects, objects of other projects and objects of no project do not exist.
    """

    own: frozenset[str] | None = None
    wanted: str | None = None

    def allows(self, project: str | None) -> bool:
        """Whether an object of `project` exists for the caller."""
        listed = self.listed
        return listed is None or project in listed

    def shares(self, project: str | None) -> bool:
        """Whether the caller can use a record of `project`, or of no project."""
        return project is None or self.allows(project)

    def check_change(self, project: str | None, what: str) -> None:
        """Raise Forbidden for a record of no project (`what`) if the caller is restricted to
        projects.
        """
        if project is None and not self.is_whole:
            raise Forbidden(
                f"{what} is shared by all projects; change {what} as an administrator of "
                "all projects, without project-uuid and 3rd-party-project"
            )

    @property
    def is_whole(self) -> bool:
        """Whether the caller sees all projects."""
        return self.own is None and self.wanted is None

    @property
    def listed(self) -> frozenset[str] | None:
        """The projects of a list, None for all projects."""
        if self.wanted is None:
            return self.own
        return frozenset({self.wanted}) if self.own is None else self.own & {self.wanted}

    @property
    def project(self) -> str | None:
        """The project of a new object without a parent.

        Raises NotFound for a project that the account lacks.
        """
        if self.wanted is not None and self.own is not None and self.wanted not in self.own:
            raise NotFound(f"there is no project {self.wanted}")
        if self.wanted is None and self.own is not None and len(self.own) == 1:
            return next(iter(self.own))
        return self.wanted

    def owner(self, said: str | None, before: str | None = None) -> str | None:
        """The project of a record: the requested project ("" for none), else the old project.

        Raises Forbidden for a project that the caller lacks, and Malformed if a restricted caller
        must name a project.
        """
        if said is not None and not (said == "" or self.allows(said)):
            raise Forbidden(f"project: {said[:80]!r} is not among your projects", field="project")
        result = said or None if said is not None else before or self.project
        if result is None and not self.is_whole:
            raise Malformed("project: name one of your projects", field="project")
        return result


EVERYTHING = Scope()
