"""The cells of a factorial design, its terms, and the weight of each cell in an effect. See `analysis.factorial`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Term = tuple[str, ...]
Columns = dict[Term, np.ndarray]


@dataclass(frozen=True, eq=False)
class Model:
    """The cells of a design, and the terms that are estimated from them.

    Attributes:
      varied: toggle → its values.
      codes: toggle → int[C], the place of each cell's value in `varied`.
      columns: term → float64[C, its degrees of freedom], sum-to-zero contrasts: the reference's level counts -1 in each
        column.
      kept: the terms that are estimated.
      dropped: the terms that add nothing to those before them.
      inverse: float64[1 + columns of kept terms, C], the pseudoinverse that maps the cells' values to the coefficients,
        the mean first.
    """

    varied: Mapping[str, list[str]]
    codes: Mapping[str, np.ndarray]
    columns: Columns
    kept: list[Term]
    dropped: list[Term]
    inverse: np.ndarray

    @property
    def places(self) -> dict[Term, slice]:
        """Where each kept term's coefficients stand."""
        ends = list(itertools.accumulate((self.columns[term].shape[1] for term in self.kept), initial=1))
        return {term: slice(begin, end) for term, begin, end in zip(self.kept, ends, ends[1:], strict=False)}

    @property
    def effects(self) -> list[tuple[Term, tuple[int, ...]]]:
        """Each combination of values other than the reference's, for every term."""
        return [
            (term, values)
            for term in self.columns
            for values in itertools.product(*(range(1, len(self.varied[key])) for key in term))
        ]

    @property
    def is_full(self) -> bool:
        """Whether every combination of values is a cell."""
        return len(self.inverse.T) == math.prod(map(len, self.varied.values()))


def model_of(cells: Sequence[tuple[str, ...]], varied: Mapping[str, list[str]]) -> Model:
    """Returns the model of cells, each the values of the varied toggles in their order."""
    codes = {
        key: np.array([values.index(combination[place]) for combination in cells])
        for place, (key, values) in enumerate(varied.items())
    }
    columns, mean = _columns(codes, varied), np.ones((len(cells), 1))
    is_full = len(cells) == math.prod(map(len, varied.values()))
    kept, dropped = (list(columns), []) if is_full else _estimable(mean, columns)
    inverse = np.linalg.pinv(np.hstack([mean, *(columns[term] for term in kept)]))
    return Model(varied, codes, columns, kept, dropped, inverse)


def _columns(codes: Mapping[str, np.ndarray], varied: Mapping[str, list[str]]) -> Columns:
    main: Columns = {(key,): contrasts(len(values))[codes[key]] for key, values in varied.items()}
    both: Columns = {
        (first, second): products(main[first,], main[second,]) for first, second in itertools.combinations(varied, 2)
    }
    return {**main, **both}


def contrasts(levels: int) -> np.ndarray:
    """Returns float64[levels, levels - 1]: the first level -1 everywhere, each other 1 in its own column."""
    return np.vstack([-np.ones(levels - 1), np.eye(levels - 1)])


def products(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Returns the product of each column of one term with each of another, float64[C, columns]."""
    return np.asarray((ours[:, :, None] * theirs[:, None, :]).reshape(len(ours), -1))


def _estimable(mean: np.ndarray, columns: Columns) -> tuple[list[Term], list[Term]]:
    """Returns the terms that add to the rank of the design, in order, and those that do not.

    The latter are aliased with what comes before.
    """
    design, kept, aliased = mean, [], []
    for term, block in columns.items():
        wider = np.hstack([design, block])
        if np.linalg.matrix_rank(wider) == design.shape[1] + block.shape[1]:
            design = wider
            kept.append(term)
        else:
            aliased.append(term)
    return kept, aliased


def weights_of(model: Model, term: Term, values: tuple[int, ...]) -> np.ndarray:
    """Returns the weight of each cell in an effect, float64[C]; nan for a term without coefficients.

    The effect is linear in its term's coefficients: the contrast of a value minus the contrast of the reference,
    multiplied over toggles.
    """
    if term not in model.kept:
        return np.full(model.inverse.shape[1], math.nan)
    weights = np.ones(1)
    for key, value in zip(term, values, strict=True):
        coded = contrasts(len(model.varied[key]))
        weights = np.outer(weights, coded[value] - coded[0]).ravel()
    return np.asarray(weights @ model.inverse[model.places[term]])


def aliased(model: Model, weights: np.ndarray) -> list[str]:
    """Returns for each effect the terms of at most two toggles that are aliased with it, as one text."""
    names_of = mixed(weights, ((term, model.columns[term]) for term in model.dropped))
    into: dict[Term, list[str]] = {
        term: [] for term in model.dropped
    }  # a dropped term has no numbers; its effects are part of other estimates
    for (term, _), names in zip(model.effects, names_of, strict=True):
        for other in model.dropped:
            if ":".join(other) in names and ":".join(term) not in into[other]:
                into[other].append(":".join(term))
    return [", ".join(into.get(term, names)) for (term, _), names in zip(model.effects, names_of, strict=True)]


def mixed(weights: np.ndarray, blocks: Iterable[tuple[Term, np.ndarray]]) -> list[list[str]]:
    """Returns for each effect (a row of weights) the terms that change it: weights times columns are not zero."""
    found: list[list[str]] = [[] for _ in weights]
    for term, block in blocks:
        moved = np.abs(weights @ block).max(axis=1) > 1e-8
        for place in np.flatnonzero(moved):
            found[place].append(":".join(term))
    return found
