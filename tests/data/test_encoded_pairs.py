from __future__ import annotations

import numpy as np
import pytest

from src.data import encoded_pairs
from src.data.encoded_pairs import Tokenisation, token_links
from src.data.files import DataError
from src.data.pair_options import Dates, Pairs
from src.data.pairs import Link, Span
from src.data.sentence_tokens import Token, Words
from src.data.splits import SPLITS

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "die": "sterben", "the": "die"}


@pytest.fixture
def pairs(tmp_path):
    """Returns the options of a file of 60 pairs; the word `die` is in both languages."""
    names = list(WORDS)
    rows = [
        f"{names[i % 5].title()} {names[i % 3]} {i}.\t{WORDS[names[i % 5]]} {WORDS[names[i % 3]]} {i}!"
        for i in range(60)
    ]
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(rows), encoding="utf-8")
    return Pairs(path=str(path))


def texts(data, split, side, vocab_size=1_000):
    vocabulary, flat = data.vocabulary(side, vocab_size), data.side(split, side)
    return [vocabulary.text(flat.values[a:b].tolist()) for a, b in zip(flat.starts[:-1], flat.starts[1:], strict=True)]


@pytest.mark.parametrize("tokens", ["word", "character", "subword"])
@pytest.mark.parametrize("share", [False, True])
def test_the_ids_of_training_texts_are_these_texts(home, pairs, tokens, share):
    data = encoded_pairs.load(pairs, Tokenisation(tokens, share_vocabulary=share, vocab_size=60))

    assert data.rows == {"train": 48, "validation": 6, "test": 6}
    for side in ("source", "target"):
        assert texts(data, "train", side) == [text.lower() for text in data.texts("train", side)]


def test_letters_keep_their_case_without_lowercase(home, pairs):
    data = encoded_pairs.load(pairs, Tokenisation(lowercase=False))

    assert texts(data, "train", "source") == data.texts("train", "source")


def test_only_training_tokens_have_an_id(home, pairs):
    data = encoded_pairs.load(pairs, Tokenisation())

    words = {token.text for text in data.texts("train", "source") for token in Words().split(text.lower())}
    assert set(data.vocabulary("source", 1_000).words) == words
    assert any("<unknown>" in text for text in texts(data, "test", "source"))
    assert data.contents.unknown["source"] > 0


def test_a_token_of_both_languages_has_one_id_only_with_a_shared_vocabulary(home, pairs):
    apart, shared = (encoded_pairs.load(pairs, Tokenisation(share_vocabulary=share)) for share in (False, True))

    def ids(data):
        words = ["die", "two", "eins", "11", "12", "13"]
        return [data.vocabulary(side, 1_000).ids(words) for side in ("source", "target")]

    assert ids(apart)[0] != ids(apart)[1]
    assert ids(shared)[0] == ids(shared)[1]
    assert apart.contents.common == shared.contents.common


def test_a_smaller_vocabulary_keeps_the_most_frequent_tokens(home, pairs):
    data = encoded_pairs.load(pairs, Tokenisation())

    counts = {}
    for text in data.texts("train", "target"):
        for token in Words().split(text.lower()):
            counts[token.text] = counts.get(token.text, 0) + 1
    kept = data.vocabulary("target", 7).words
    assert len(kept) == 3
    assert min(counts[word] for word in kept) >= max(count for word, count in counts.items() if word not in kept)


def test_the_cache_depends_on_the_tokens_and_on_vocab_size_only_for_subwords(home, pairs):
    def digest(**how):
        return encoded_pairs.load(pairs, Tokenisation(**how)).digest

    assert digest() == digest(vocab_size=50)
    assert digest(tokens="subword", vocab_size=50) != digest(tokens="subword", vocab_size=60)
    different = {digest(), digest(tokens="character"), digest(lowercase=False), digest(share_vocabulary=True)}
    assert len(different) == 4


def test_fewer_training_pairs_are_the_first_of_more_and_the_test_stays(home, pairs):
    whole = encoded_pairs.load(pairs, Tokenisation())
    fewer = encoded_pairs.load(pairs.model_copy(update={"train_pairs": 4}), Tokenisation())
    limited = encoded_pairs.load(pairs.model_copy(update={"limit": 3}), Tokenisation())

    assert fewer.texts("train", "source") == whole.texts("train", "source")[:4]
    assert fewer.texts("test", "source") == whole.texts("test", "source")
    assert limited.rows == dict.fromkeys(SPLITS, 3)


def test_the_plan_shows_counts_and_what_is_left_out(home, pairs):
    data = encoded_pairs.load(pairs, Tokenisation())

    lines = data.contents.lines(data.origin)

    assert lines[0].startswith("data pairs /")
    assert "are the different tokens in training, 49 of them on both sides" in lines[0]
    assert [line.split() for line in lines if "pairs " in line[:10]] == [["pairs", "48", "6", "6"]]


def test_pairs_that_leave_a_split_empty_are_refused(home, tmp_path):
    for name, count in {"train": 3, "val": 1, "test": 1}.items():
        for language in ("de", "en"):
            words = "word " * (9 if name == "val" else 2)
            (tmp_path / f"{name}.{language}").write_text("".join(f"{language} {i} {words}\n" for i in range(count)))
    from src.data.pair_options import Multi30k

    with pytest.raises(DataError, match=r"the validation split is empty; raise data\.max_words"):
        encoded_pairs.load(Multi30k(path=str(tmp_path), max_words=5), Tokenisation())


def test_tokens_are_linked_if_some_of_their_characters_are():
    target = [Token("20", 0, 2), Token("15", 2, 4), Token("-", 4, 5)]
    source = [Token("the", 0, 3), Token("year", 4, 8), Token("15", 9, 11)]
    links = [Link(Span(0, 2), Span(4, 11)), Link(Span(2, 3), Span(9, 10)), Link(Span(3, 4), Span(10, 11))]

    assert token_links(links, target, source).tolist() == [[0, 1], [0, 2], [1, 2]]
    assert token_links([], target, source).shape == (0, 2)


@pytest.mark.parametrize("tokens", ["word", "character", "subword"])
def test_linked_tokens_of_dates_have_the_same_value(home, tokens):
    data = encoded_pairs.load(Dates.model_validate({"train_pairs": 100}), Tokenisation(tokens, vocab_size=90))

    source, target = data.vocabulary("source", 90), data.vocabulary("target", 90)
    links = data.links("train")
    assert len(links.starts) == 101
    for row, (left, right) in enumerate(zip(data.texts("train", "source"), data.texts("train", "target"), strict=True)):
        ours, theirs = source.divided(left), target.divided(right)
        for place, origin in links.values[links.starts[row] : links.starts[row + 1]]:
            token, word = theirs[place].strip("￭▁"), ours[origin].strip("￭▁")
            if token.isdigit() and word.isdigit() and tokens != "subword":
                assert word in token or token in ("0", "1", "2", "9")
        if tokens == "word":
            linked = set(links.values[links.starts[row] : links.starts[row + 1], 0].tolist())
            assert linked == {place for place, token in enumerate(theirs) if token.strip("￭") not in "-/"}


def test_other_corpora_are_not_aligned(home, pairs):
    assert encoded_pairs.load(pairs, Tokenisation()).links("train") is None


def test_ids_are_stored_in_32_bits(home, pairs):
    data = encoded_pairs.load(pairs, Tokenisation())

    assert data.side("train", "source").values.dtype == np.int32
