"""How good translations are: BLEU, chrF, exact matches and right tokens. Pure functions; TensorFlow is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from src.data.tokens import PADDING


class Scores(NamedTuple):
    """The scores of the translations of a split.

    Attributes:
      bleu: BLEU of the corpus, from 0 to 100 (Papineni et al., ACL 2002).
      chrf: chrF2 of the corpus, from 0 to 100 (Popović, WMT 2015).
      exact_match: share of translations that equal their reference, from 0 to 1.
      signatures: metric → how sacrebleu computed it (Post, WMT 2018); only equal signatures compare.
    """

    bleu: float
    chrf: float
    exact_match: float
    signatures: dict[str, str]


def scores(hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool) -> Scores:
    """Returns the scores of translations.

    Args:
      hypotheses: N detokenised translations.
      references: N detokenised references, one for each.
      lowercase: whether capital letters count as small ones.

    Raises:
      ValueError: there are no texts, or not equally many.
    """
    from sacrebleu.metrics import BLEU, CHRF

    if not hypotheses or len(hypotheses) != len(references):
        counts = f"{len(hypotheses)} translations and {len(references)} references"
        raise ValueError(f"got {counts}; there must be one reference for each, and at least one")
    bleu, chrf = BLEU(lowercase=lowercase, force=True), CHRF(lowercase=lowercase)  # force: references may be tokens
    values = [metric.corpus_score(list(hypotheses), [list(references)]).score for metric in (bleu, chrf)]
    signatures = {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    exact = float(exact_matches(hypotheses, references, lowercase=lowercase).mean())
    return Scores(float(values[0]), float(values[1]), exact, signatures)


def exact_matches(hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool) -> np.ndarray:
    """Returns bool[N], whether each translation equals its reference; `scores` has the arguments.

    White space is not compared. Texts are in Unicode's form C.
    """
    from src.data.sentence_tokens import normalised

    pairs = zip(hypotheses, references, strict=True)
    return np.array(
        [normalised(one, lowercase=lowercase) == normalised(two, lowercase=lowercase) for one, two in pairs]
    )


def sentence_chrf(hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool) -> np.ndarray:
    """Returns float64[N], chrF2 of every translation, from 0 to 100; `scores` has the arguments.

    BLEU of one sentence is mostly 0 and needs smoothing; chrF does not.
    """
    from sacrebleu.metrics import CHRF

    chrf = CHRF(lowercase=lowercase)
    pairs = zip(hypotheses, references, strict=True)
    return np.array([chrf.sentence_score(one, [two]).score for one, two in pairs], float)


def right_tokens(decoded: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns how many tokens of each reference a translation has at the same place, and how many the reference has.

    The end counts as a token, so a translation that goes on too long is wrong there, and so is one that is too short.

    Args:
      decoded: int32[B, U] ids of free-running translations with their end, padded with 0; U need not be T.
      references: int32[B, T] ids with their end, padded with 0.

    Returns:
      int64[B] right tokens and int64[B] tokens; their sums divided are the token accuracy.
    """
    width = references.shape[1]
    padded = np.zeros_like(references)
    shared = min(width, decoded.shape[1])
    padded[:, :shared] = decoded[:, :shared]
    is_token = references != PADDING
    return ((padded == references) & is_token).sum(axis=1), is_token.sum(axis=1)
