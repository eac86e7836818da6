"""Word vectors from counts of pairs, without training.

Letters: R words, D size of a vector, W the window.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy.sparse
import scipy.sparse.linalg


def pair_counts(blocks: Iterable[tuple[np.ndarray, np.ndarray]], count: int) -> scipy.sparse.csr_array:
    """Returns how often each pair occurs, float64[R, R].

    Args:
      blocks: words int[P] and words around them int[P], any number of times.
      count: R.
    """
    total = scipy.sparse.csr_array((count, count))
    for words, others in blocks:
        ones = np.ones(len(words))
        total = total + scipy.sparse.coo_array((ones, (words, others)), shape=(count, count)).tocsr()
    return total


def ppmi(counts: scipy.sparse.csr_array, *, exponent: float = 1.0) -> scipy.sparse.csr_array:
    """Returns the positive pointwise mutual information of each pair, float64[R, R].

        max(0, log p(w, c) / (p(w) q(c))),    q(c) proportional to p(c)^exponent

    Sources: Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization", NIPS 2014; the exponent is the
    context distribution smoothing of Levy, Goldberg and Dagan, TACL 2015.
    """
    entries = counts.tocoo()
    of_word = np.asarray(counts.sum(axis=1)).ravel()
    smooth = np.asarray(counts.sum(axis=0)).ravel().clip(min=1e-300) ** exponent
    share = smooth / smooth.sum()
    row, column = entries.coords
    information = np.log(entries.data / (of_word[row] * share[column]))
    kept = information > 0
    return scipy.sparse.csr_array((information[kept], (row[kept], column[kept])), shape=counts.shape)


def factors(matrix: scipy.sparse.csr_array, size: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns U sqrt(S) and V sqrt(S) of the truncated singular value decomposition, float32[R, D] each.

    The square root of S is better than S for similarity (Levy et al., 2015). Directions that the matrix does not have
    are zero.
    """
    rank = min(size, min(matrix.shape) - 1)
    start = np.random.default_rng(seed).normal(size=min(matrix.shape))
    left, values, right = scipy.sparse.linalg.svds(matrix, k=rank, v0=start)
    scale = np.sqrt(values)
    pad = ((0, 0), (0, size - rank))
    return np.pad(left * scale, pad).astype(np.float32), np.pad(right.T * scale, pad).astype(np.float32)
