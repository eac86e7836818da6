from __future__ import annotations

import json

import pytest

from src.data import encoded_pairs
from src.data.encoded_pairs import Tokenisation
from src.data.pair_options import Dates
from src.data.pair_vocabulary import Vocabulary
from src.data.sentence_tokens import learn
from src.data.tokens import END, START, UNKNOWN
from src.tasks.translation import vocabulary


def vocabularies(tokens):
    merges = {"source": None, "target": None}
    if tokens == "subword":
        merges = {"source": learn(["das Haus, das da"] * 3, 40), "target": learn(["the house there"] * 3, 40)}
    words = {"source": ["das", "￭,", "haus"], "target": ["the", "￭.", "house"]}
    return {side: Vocabulary(words[side], tokens, side == "source", merges[side]) for side in words}


@pytest.mark.parametrize("tokens", ["word", "character", "subword"])
def test_vocabularies_are_read_as_they_were_written(tmp_path, tokens):
    expected = vocabularies(tokens)

    assert vocabulary.write(tmp_path, expected) == "vocabularies.json"
    found = vocabulary.read(tmp_path)

    assert found == expected
    for side, text in (("source", "Das Haus, hier"), ("target", "The house.")):
        assert found[side].divided(text) == expected[side].divided(text)


def test_ids_are_the_tokens_of_a_text_and_back():
    words = vocabularies("word")["target"]

    ids = words.ids(words.divided("the house, the."))
    assert ids == [4, 6, UNKNOWN, 4, 5]
    assert words.text([START, *ids, END, 0, 0]) == "the house <unknown> the."
    assert words.shown([START, *ids, END]) == ["the", "house", "<unknown>", "the", "￭."]
    assert words.text([4, 7, 99]) == "the"
    assert words.size == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": "list"}, "its unit or its words are missing"),
        ({"words": ["a", "a"]}, "a token is empty or occurs twice"),
        ({"words": ["a", ""]}, "a token is empty or occurs twice"),
        ({"merges": "%%"}, "holds no vocabularies of a model"),
        ({"merges": "AAAA"}, "holds no vocabularies of a model"),
        ({"merges": None}, "needs learnt merges"),
        ({"lowercase": "yes"}, "its unit or its words are missing"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    vocabulary.write(tmp_path, vocabularies("subword"))
    path = tmp_path / vocabulary.FILE
    content = json.loads(path.read_text())
    content["source"] |= change
    path.write_text(json.dumps(content))

    with pytest.raises(ValueError, match=rf"vocabularies\.json: .*{message}"):
        vocabulary.read(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"source": 1, "target": 2}', "[" * 100_000])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / vocabulary.FILE).write_text(content)

    with pytest.raises(ValueError, match="it holds no vocabularies of a model"):
        vocabulary.read(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be read .*; has the trial finished"):
        vocabulary.read(tmp_path)


def test_the_vocabularies_of_a_corpus_survive_the_file(home, tmp_path):
    data = encoded_pairs.load(Dates.model_validate({"train_pairs": 50}), Tokenisation("subword", vocab_size=80))
    expected = {side: data.vocabulary(side, 80) for side in ("source", "target")}

    vocabulary.write(tmp_path, expected)

    found = vocabulary.read(tmp_path)
    for text in data.texts("test", "source")[:20]:
        assert found["source"].ids(found["source"].divided(text)) == expected["source"].ids(
            expected["source"].divided(text)
        )
