from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from src.tasks.translation import alignment, by_length
from src.tasks.translation.scores import exact_matches, right_tokens, scores, sentence_chrf

REFERENCES = ["The cat sat on the mat .", "A dog barks very loudly at night !", "It is five o'clock now ."]
HYPOTHESES = ["The cat sat on a mat .", "a dog barks loudly at night !", "it is five o'clock now ."]


def plain_bleu(hypotheses, references):
    """Returns BLEU of Papineni et al. (2002) for texts that white space divides into tokens."""
    right, total, lengths = [0] * 4, [0] * 4, [0, 0]
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        words, others = hypothesis.split(), reference.split()
        lengths = [lengths[0] + len(words), lengths[1] + len(others)]
        for n in range(1, 5):
            ours, theirs = (Counter(tuple(w[i : i + n]) for i in range(len(w) - n + 1)) for w in (words, others))
            right[n - 1] += sum((ours & theirs).values())
            total[n - 1] += sum(ours.values())
    brevity = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    return 100 * brevity * math.exp(sum(math.log(r / t) for r, t in zip(right, total, strict=True)) / 4)


def plain_chrf(hypotheses, references, *, beta=2, longest=6):
    """Returns chrF of Popović (2015): precision and recall of character n-grams, averaged over n."""
    sums = np.zeros((longest, 3))
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        ours, theirs = hypothesis.replace(" ", ""), reference.replace(" ", "")
        for n in range(1, longest + 1):
            a, b = (Counter(t[i : i + n] for i in range(len(t) - n + 1)) for t in (ours, theirs))
            sums[n - 1] += [sum((a & b).values()), sum(a.values()), sum(b.values())]
    precision, recall = (sums[:, 0] / sums[:, 1]).mean(), (sums[:, 0] / sums[:, 2]).mean()
    return 100 * (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def test_bleu_and_chrf_are_those_of_their_papers():
    found = scores(HYPOTHESES, REFERENCES, lowercase=False)

    assert found.bleu == pytest.approx(plain_bleu(HYPOTHESES, REFERENCES))
    assert found.chrf == pytest.approx(plain_chrf(HYPOTHESES, REFERENCES))
    lower = [[text.lower() for text in texts] for texts in (HYPOTHESES, REFERENCES)]
    found = scores(HYPOTHESES, REFERENCES, lowercase=True)
    assert found.bleu == pytest.approx(plain_bleu(*lower))
    assert found.chrf == pytest.approx(plain_chrf(*lower))


def test_signatures_say_how_scores_were_computed():
    signatures = scores(HYPOTHESES, REFERENCES, lowercase=True).signatures

    assert signatures["bleu"].startswith("nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:2.")
    assert "case:mixed" in scores(HYPOTHESES, REFERENCES, lowercase=False).signatures["bleu"]
    assert signatures["chrf"].startswith("nrefs:1|case:lc|eff:yes|nc:6|nw:0|space:no|version:2.")


def test_perfect_and_empty_translations_are_the_extremes():
    perfect, empty = scores(REFERENCES, REFERENCES, lowercase=False), scores([""] * 3, REFERENCES, lowercase=False)

    assert (perfect.bleu, perfect.chrf, perfect.exact_match) == (pytest.approx(100), 100, 1)
    assert (empty.bleu, empty.chrf, empty.exact_match) == (0, 0, 0)


def test_exact_matches_count_case_only_on_demand():
    assert exact_matches(HYPOTHESES, REFERENCES, lowercase=True).tolist() == [False, False, True]
    assert exact_matches(HYPOTHESES, REFERENCES, lowercase=False).tolist() == [False, False, False]
    assert exact_matches(["a  b", "e\u0301"], ["a b ", "é"], lowercase=False).all()


def test_missing_references_are_refused():
    with pytest.raises(ValueError, match="got 3 translations and 2 references; there must be one reference for each"):
        scores(HYPOTHESES, REFERENCES[:2], lowercase=True)
    with pytest.raises(ValueError, match="at least one"):
        scores([], [], lowercase=True)


def test_chrf_of_a_sentence_is_that_of_a_corpus_of_one():
    found = sentence_chrf(HYPOTHESES, REFERENCES, lowercase=False)

    expected = [plain_chrf([one], [two]) for one, two in zip(HYPOTHESES, REFERENCES, strict=True)]
    np.testing.assert_allclose(found, expected)


def rows(count, width):
    """Returns rows of ids with their end, padded with 0."""
    row = st.lists(st.integers(4, 6), max_size=width - 1).map(lambda ids: [*ids, 3, *[0] * (width - 1 - len(ids))])
    return st.lists(row, min_size=count, max_size=count).map(lambda ids: np.array(ids, np.int32))


@given(rows(4, 6), st.integers(2, 9).flatmap(lambda width: rows(4, width)))
def test_right_tokens_are_counted_as_by_hand(references, decoded):
    right, total = right_tokens(decoded, references)

    for row in range(4):
        reference = [token for token in references[row].tolist() if token]
        found = [token for token in decoded[row].tolist() if token]
        assert total[row] == len(reference)
        assert right[row] == sum(one == two for one, two in zip(reference, found, strict=False))


def test_the_alignment_is_measured_as_by_hand():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(5), (3, 4)).astype(np.float32)
    aligned = rng.random((3, 4, 5)) < 0.25
    assert (~aligned.any(axis=2)).any()

    found = {name: [part.numpy() for part in pair] for name, pair in alignment.by_token(weights, aligned).items()}

    for pair, t in np.ndindex(3, 4):
        right = {s for s in range(5) if aligned[pair, t, s]}
        for _, is_counted in found.values():
            assert is_counted[pair, t] == bool(right)
        if right:
            heaviest = max(range(5), key=lambda s: weights[pair, t, s])
            assert found["alignment_error"][0][pair, t] == (heaviest not in right)
            mass = sum(weights[pair, t, s] for s in right)
            assert found["alignment_mass"][0][pair, t] == pytest.approx(mass, rel=1e-6)


def test_perfect_attention_has_no_error_and_all_the_mass():
    aligned = np.zeros((1, 3, 4), bool)
    aligned[0, 0, [1, 2]] = aligned[0, 1, 3] = True
    weights = np.array([[[0, 0.5, 0.5, 0], [0, 0, 0, 1], [1, 0, 0, 0]]], np.float32)

    found = {name: [part.numpy() for part in pair] for name, pair in alignment.by_token(weights, aligned).items()}

    for name, value in (("alignment_error", 0), ("alignment_mass", 1)):
        values, is_counted = found[name]
        assert is_counted.tolist() == [[True, True, False]] and values[is_counted].tolist() == [value, value]


PAIRS = [
    {"source": " ".join("a" * words), "reference": f"x y z {words}", "translation": f"x y z {words + (words > 4)}"}
    for words in (3, 1, 2, 2, 9, 7, 5, 4, 8)
]


def test_scores_by_length_are_those_of_the_sources_of_each_length():
    found = by_length.by_range(PAIRS, 3, lowercase=True)

    assert [(each.least, each.most) for each in found] == [(1, 2), (3, 5), (7, 9)]
    for each in found:
        mine = [pair for pair in PAIRS if each.least <= len(pair["source"].split()) <= each.most]
        texts = [[pair[key] for pair in mine] for key in ("translation", "reference")]
        assert each.bleu == pytest.approx(sacrebleu.corpus_bleu(texts[0], [texts[1]], lowercase=True).score)
        assert each.exact_match == sum(a == b for a, b in zip(*texts, strict=True)) / len(mine)
    of_test = by_length.of_test(PAIRS, lowercase=True)
    assert of_test["exact_match_short"] == 1.0 and of_test["exact_match_long"] == 0.0
    assert of_test["bleu_long"] == found[-1].bleu < found[0].bleu == of_test["bleu_short"]
    assert of_test.keys() == {metric.name for metric in by_length.METRICS}


def test_sources_of_one_length_have_no_scores_by_length():
    assert by_length.of_test(PAIRS[2:4], lowercase=True) == {}
    assert len(by_length.by_range(PAIRS[:1], 5, lowercase=True)) == 1
