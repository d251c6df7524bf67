"""Set with a remote membership test; its names cannot be enumerated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import TypeVar

S = TypeVar("S")


class RemoteSet(Set[str]):
    """A set whose membership test calls `contains`; iteration and length raise NotImplementedError.

    Membership is looked up at each test, so that the set follows the owner's set.
    """

    def __init__(self, contains: Callable[[str], bool]) -> None:
        self._contains = contains

    @classmethod
    def _from_iterable(cls, it: Iterable[S]) -> Set[S]:
        """Build the result of set operators such as `names - asked`."""
        return frozenset(it)

    def __contains__(self, name: object) -> bool:
        return self._contains(str(name))

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("a set with a remote membership test cannot be enumerated")

    def __len__(self) -> int:
        raise NotImplementedError("a set with a remote membership test cannot be enumerated")


class SetServer:
    """Server of a set that offers only a membership test."""

    def __init__(self, names: Set[str]) -> None:
        self._names = names

    def has(self, name: str) -> bool:
        return name in self._names
