"""A set of names that only somebody else knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import TypeVar

S = TypeVar("S")


class AskedNames(Set[str]):
    """Names for each of which `ask` says, now, whether it is one.  There is no list of them."""

    def __init__(self, ask: Callable[[str], bool]) -> None:
        self._ask = ask

    @classmethod
    def _from_iterable(cls, it: Iterable[S]) -> Set[S]:
        """What `names - asked` makes."""
        return frozenset(it)

    def __contains__(self, name: object) -> bool:
        return self._ask(str(name))

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("only who is asked knows them all")

    def __len__(self) -> int:
        raise NotImplementedError("only who is asked knows them all")
