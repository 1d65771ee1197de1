"""Concept samples that are made when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from benchsuite import ConceptSample

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class LazySamples(Sequence[ConceptSample], Generic[T]):
    """A sequence of samples, each made from its entry by one function.

    Args:
        entries: one for each sample, such as the names of its files.
        make: reads or draws the sample of an entry; a top-level function or a partial of one, so that the
            sequence can be sent to another process.
    """

    def __init__(self, entries: Sequence[T], make: Callable[[T], ConceptSample]) -> None:
        self._entries, self._make = entries, make

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> ConceptSample: ...
    @overload
    def __getitem__(self, index: slice) -> LazySamples[T]: ...
    def __getitem__(self, index: int | slice) -> ConceptSample | LazySamples[T]:
        if isinstance(index, slice):
            return LazySamples(self._entries[index], self._make)
        return self._make(self._entries[index])
