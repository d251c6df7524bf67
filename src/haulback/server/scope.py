"""Which projects a caller sees: what the account may see, narrowed by what the request names."""

from __future__ import annotations

from typing import NamedTuple

from haulback.errors import NotFound


class Scope(NamedTuple):
    """`own`: the account's projects, None for all.  `wanted`: the one that a request names.

    A request can narrow, never widen.  What belongs to no project is seen by who may see all.
    """

    own: frozenset[str] | None = None
    wanted: str | None = None

    def allows(self, project: str | None) -> bool:
        """Whether an object of `project` is visible; what is not does not exist for the caller."""
        if self.own is not None and project not in self.own:
            return False
        return project is None or self.wanted in (None, project)

    @property
    def listed(self) -> frozenset[str] | None:
        """The projects that a list is confined to, None for no confinement."""
        if self.wanted is None:
            return self.own
        return frozenset({self.wanted}) if self.own is None else self.own & {self.wanted}

    @property
    def project(self) -> str | None:
        """The project of something new that belongs to nothing else.

        Raises NotFound for one that is not the account's.
        """
        if self.wanted is not None and self.own is not None and self.wanted not in self.own:
            raise NotFound(f"there is no project {self.wanted}")
        if self.wanted is None and self.own is not None and len(self.own) == 1:
            return next(iter(self.own))
        return self.wanted


EVERYTHING = Scope()
