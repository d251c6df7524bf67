"""Objects that a block closes at its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Self

from haulback.errors import HaulbackError


class ClosesAtExit(ABC):
    """A context manager that closes itself; a failure to close never hides the block's error."""

    @abstractmethod
    def close(self) -> None:
        """Free the resources of the object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.close()
        else:
            with suppress(HaulbackError):
                self.close()
