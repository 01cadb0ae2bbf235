"""Shards: the parts of the work that the jobs of an array do on many machines, each without asking the others."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Shard"]


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, counted from 1. Raises ValueError for another number."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"shard {self}: expected I/N, with I from 1 to N")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that `3/8` names. Raises ValueError for other texts."""
        if not (found := re.fullmatch(r"(\d+)/(\d+)", text)):
            raise ValueError(f"{text}: expected I/N, such as 3/8")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, sizes: Mapping[str, float]) -> set[str]:
        """Which names belong to this shard, from the size of each; every name belongs to one of the `count` shards.

        The largest goes first, each to the shard that has least so far; of equal ones that comes first whose name does.
        So the shards differ by no more than the largest size (R. L. Graham, "Bounds on multiprocessing timing
        anomalies", 1969).
        """
        loads = [(0.0, number) for number in range(1, self.count + 1)]
        mine = set()
        for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
            load, number = loads[0]
            heapq.heapreplace(loads, (load + sizes[name], number))
            if number == self.number:
                mine.add(name)
        return mine

    def range(self, total: int) -> range:
        """The numbers from 0 to `total` that belong to this shard: as many as in any other or one more, in a row."""
        return range(total * (self.number - 1) // self.count, total * self.number // self.count)
