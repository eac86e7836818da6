"""The trials of each variant beside those of its reference that have the same seeds."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.rows import FINISHED


@dataclass(frozen=True, eq=False)
class Pairs:
    """The trials of a variant beside those of its reference with the same seeds.

    They are arrays, for a study may have thousands of variants.

    Attributes:
      ours: column → [pairs], of the variant.
      theirs: the same of the reference.
    """

    ours: Mapping[str, np.ndarray]
    theirs: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        """Returns the number of pairs."""
        return len(self.ours["seed"])

    @functools.cached_property
    def is_finished(self) -> np.ndarray:
        """bool[pairs], whether both trials finished."""
        return np.asarray((self.ours["status"] == FINISHED) & (self.theirs["status"] == FINISHED), dtype=bool)

    @property
    def are_unchanged(self) -> bool:
        """Whether the trained weights are equal in every finished pair, bit for bit, in different trials."""
        is_other = not are_equal(*self.values("identity", kind=object)).any()
        return is_other and bool(self.is_finished.any()) and bool(are_equal(*self.values("weights", kind=object)).all())

    def values(self, name: str, *, kind: type = float) -> tuple[np.ndarray, np.ndarray]:
        """Returns a column of the finished pairs, of the variant and of the reference."""
        return self.ours[name][self.is_finished].astype(kind), self.theirs[name][self.is_finished].astype(kind)


def joined(rows: pd.DataFrame, *names: str) -> Iterator[tuple[str, str, bool, Pairs]]:
    """Yields for every variant (within, label, is it the reference?) its rows beside the reference's of the same seeds.

    Args:
      rows: as `effects.paired` takes them.
      *names: of columns that are wanted beside `seed`, `status` and `identity`.
    """
    rows = rows if "within" in rows else rows.assign(within="")
    variant, wanted = ["within", "label"], list(dict.fromkeys(["status", "identity", *names]))
    rows = rows[[*variant, "seed", "is_reference", *wanted]]
    both = rows.merge(rows[rows["is_reference"]], on=["within", "seed"], suffixes=("", "_reference"))
    ours = {name: both[name].to_numpy() for name in ("seed", *wanted)}
    theirs = {name: both[f"{name}_reference"].to_numpy() for name in wanted}
    places = both.groupby(variant, sort=False).indices
    firsts = rows.drop_duplicates(variant)
    turn = {within: number for number, within in enumerate(dict.fromkeys(firsts["within"]))}
    variants = zip(firsts["within"], firsts["label"], firsts["is_reference"], strict=True)
    for within, name, is_reference in sorted(variants, key=lambda variant: turn[variant[0]]):
        mine = places.get((within, name), np.array([], dtype=int))
        sides = ({key: values[mine] for key, values in side.items()} for side in (ours, theirs))
        yield str(within), str(name), bool(is_reference), Pairs(*sides)


def are_equal(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Returns where two arrays of texts have the same one, bool[n]; what is missing equals nothing."""
    return np.asarray((ours == theirs) & ~pd.isna(ours) & ~pd.isna(theirs), dtype=bool)
