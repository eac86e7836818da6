from __future__ import annotations

import json

import numpy as np
import pytest

from src.config.settings import checked
from src.data.tokens import UNKNOWN
from src.study.planning import study
from src.tasks.sentiment.task import TASK


@pytest.fixture
def settings(home, tmp_path):
    rows = [
        ("common common rare", "a", "train"), ("common other", "b", "train"),
        ("common rare new", "a", "validation"), ("common other", "b", "validation"),
        ("Common, other!", "b", "test"), ("new", "a", "test"), ("common rare new?", "a", "test"), ("else", "b", "test"),
    ]  # fmt: skip
    with (tmp_path / "t.jsonl").open("w", encoding="utf-8") as file:
        for text, label, split in rows:
            file.write(json.dumps({"text": text, "label": label, "s": split}) + "\n")
    return checked({"data": {"name": "table", "path": str(tmp_path / "t.jsonl"), "split_column": "s"}})


@pytest.mark.parametrize(
    ("vocab_size", "max_length", "unknown"), [(100, None, 1 / 5), (5, None, 3 / 5), (100, 2, 1 / 2), (6, None, 2 / 5)]
)
def test_the_unknown_fraction_counts_the_words_that_the_trial_reads_as_unknown(
    settings, vocab_size, max_length, unknown
):
    data = TASK.load(settings)
    used = settings.model_copy(update={"vocab_size": vocab_size, "max_length": max_length})

    assert TASK.measures(used, data)["data/unknown_fraction"] == pytest.approx(unknown)


def test_the_leaked_texts_are_a_share_of_their_split(settings):
    measures = TASK.measures(settings, TASK.load(settings))

    assert measures["data/leaked_test"] == 2 / 4 and measures["data/leaked_validation"] == 1 / 2


def test_words_and_characters_are_two_levels_of_one_study(settings):
    of_tokens = study({}, {"tokens": ["word", "character"]}, compose=lambda _: settings)
    by_word, by_character = (row.trial for row in of_tokens.rows(next(of_tokens.rounds())))

    assert by_word.identity != by_character.identity and by_word.data.digest != by_character.data.digest
    assert (by_word.data.contents.tokens, by_character.data.contents.tokens) == ("word", "character")
    assert by_character.data.split("train").lengths.sum() > by_word.data.split("train").lengths.sum()
    assert not np.isin(UNKNOWN, by_character.data.split("train").ids)


def test_a_corpus_of_lists_is_recorded_as_divided_into_lists(home, tmp_path):
    rows = [{"text": ["a", str(row)], "label": row % 2} for row in range(40)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    settings = checked({"data": {"name": "table", "path": str(tmp_path / "t.jsonl")}})

    assert TASK.load(settings).contents.tokens == "list"
