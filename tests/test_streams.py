from __future__ import annotations

import numpy as np

from src.streams import generator, stream_seed


def test_equal_names_give_equal_draws_and_different_names_different_draws():
    assert generator(0, "order", 1).integers(1 << 30) == generator(0, "order", 1).integers(1 << 30)
    seeds = {
        stream_seed(seed, *name)
        for seed in range(20)
        for name in (("order", 1), ("order", 2), ("dropout", "a"), ("weights", "a", "k"))
    }
    assert len(seeds) == 80


def test_seeds_are_in_the_range_that_keras_accepts():
    assert all(0 <= stream_seed(seed, "x") < 2**31 for seed in np.random.default_rng(0).integers(0, 2**32, 1_000))
