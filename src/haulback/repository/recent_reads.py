"""Objects of a repository that this process has read a short time ago.

The EXPORT and the STORE of a backup follow each other, and each opens the repository.  The STORE
reads again all that its checks depend on: the identity, the next owner record, and after its
manifest the lists, the parent and the packs (docs/design/locking.md).
"""

from __future__ import annotations

from threading import Lock

from haulback.contract.order_records import Owner
from haulback.repository.manifest import Manifest
from haulback.repository.recent import Recent
from haulback.repository.repository_state import YOUNG_SECONDS, RepositoryState

_LONG_SECONDS = 3600.0  # time for which objects are remembered that never change while they exist


class RecentReads:
    """The recent reads of one repository.

    `configs` maps the bytes of a configuration, whose copy was equal, to the repository's guid.
    """

    def __init__(self) -> None:
        self.configs = Recent[bytes, str](_LONG_SECONDS)
        self.owners = Recent[int, Owner](_LONG_SECONDS)
        self.manifests = Recent[str, Manifest](YOUNG_SECONDS)
        self.state: RepositoryState | None = None
        self._repository = ""

    def of(self, repository: str) -> RecentReads:
        """The reads of the repository on the destination; those of another repository, which the
        destination held before, are dropped.
        """
        if self._repository != repository:
            self.owners, self.manifests = Recent(_LONG_SECONDS), Recent(YOUNG_SECONDS)
            self.state, self._repository = None, repository
        return self


class RecentRepositories:
    """The recent reads of all destinations of a node, shared by its tasks."""

    def __init__(self) -> None:
        self._reads: dict[str, RecentReads] = {}
        # tasks in threads share one object for each destination
        self._lock = Lock()

    def of(self, destination: str) -> RecentReads:
        """The recent reads of a destination, by its guid."""
        with self._lock:
            return self._reads.setdefault(destination, RecentReads())
