"""Names of the parts of a dataset."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATTERN = re.compile(r"part-(?:(?P<shard>\d{5,})-of-(?P<shards>\d{5,})-)?(?P<number>\d{5,})")


@dataclass(frozen=True, order=True, slots=True)
class PartName:
    """The name of a part, without `.parquet`; sorts by its numbers, however many digits they have.

    Attributes:
        shards: how many runs share the dataset; 1 where one writes it all.
        shard: which of them writes this part.
        number: of the part among those of its run.
    """

    shards: int
    shard: int
    number: int

    @classmethod
    def parse(cls, name: str) -> PartName | None:
        """From `part-00002` or `part-00003-of-00016-00002`; None where it is none of ours."""
        match = _PATTERN.fullmatch(name)
        if match is None:
            return None
        return cls(int(match["shards"] or 1), int(match["shard"] or 0), int(match["number"]))

    def __str__(self) -> str:
        """The name; digits beyond five where there must be."""
        shard = "" if self.shards == 1 else f"{self.shard:05d}-of-{self.shards:05d}-"
        return f"part-{shard}{self.number:05d}"
