"""What one does with trained word vectors: `python -m src.use RUN nearest`, `analogy`, `similarity` and `export`."""

from __future__ import annotations

import json
import sys
import zipfile

import numpy as np
import pytest

from docs import analogies
from src import use
from src.artifacts import MODEL, Artifacts
from src.config.settings import edited
from src.parts.words import vectors_file
from src.tasks.word_vectors import vectors
from src.tasks.word_vectors.settings import Settings
from src.training import model_file

WORDS = ["king", "queen", "man", "woman", "prince", "princess", "paris", "don't"]
COUNTS = [50, 40, 30, 20, 10, 9, 8, 7]
INPUT = np.array(  # royal, female, young, other
    [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 0.1, 0],
        [0, 1, 0.1, 0],
        [1, 0, 1, 0],
        [1, 1, 1, 0],
        [0, 0, 0, 1],
        [0, 0, 1, 1],
    ],
    np.float32,
)
OUTPUT = INPUT[::-1].copy()


def written(folder, **changes):
    """Writes the files of a trained trial."""
    import keras

    from src.models.word_pairs import WordPairs

    settings = edited(Settings(), {"vector_size": 4, **changes})
    folder.mkdir(exist_ok=True)
    Artifacts(folder).write_settings(settings)
    vectors_file.write(folder, WORDS, COUNTS)
    inputs = keras.Input((1,), dtype="int32"), keras.Input((None,), dtype="int32")
    layer = WordPairs(len(WORDS), 4, name="words")
    model = keras.Model(inputs, layer(*inputs))
    layer.set_weights([INPUT, OUTPUT, np.zeros(8), np.zeros(8)])
    model_file.write(folder, model)
    return folder


@pytest.fixture
def run(home, tmp_path):
    return written(tmp_path / "trial")


def called(folder, *words):
    return use.main([str(folder), *words])


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_the_nearest_words_come_with_their_cosines_and_counts(run, capsys, monkeypatch):
    for name in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, name, None)  # the commands take no ten seconds

    assert called(run, "nearest", "king", "--count", "3") == 0

    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    plain = sorted(((cosine(INPUT[0], INPUT[i]), WORDS[i]) for i in range(1, 8)), key=lambda one: -one[0])[:3]
    assert lines[0] == ["number", "cosine", "count", "word"]
    assert [float(line[1]) for line in lines[1:]] == pytest.approx([one for one, _ in plain], abs=1e-4)
    assert [line[2] for line in lines[1:]] == [str(COUNTS[WORDS.index(line[3])]) for line in lines[1:]]


@pytest.mark.parametrize("options", [[], ["--multiply"]])
def test_an_analogy_is_answered_without_its_own_words(run, capsys, options):
    assert called(run, "analogy", "king", "-", "man", "+", "woman", *options) == 0

    shown = [line.split("\t")[-1] for line in capsys.readouterr().out.splitlines()[1:]]
    assert shown[0] == "queen"
    assert not {"king", "man", "woman"} & set(shown)


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (["nearest", "king"], ["queen", "prince", "princess"]),
        (["nearest", "king", "--restrict-vocab", "4"], ["queen", "man", "woman"]),
        (["analogy", "king - man + woman", "--restrict-vocab", "5"], ["queen", "prince"]),
    ],
)
def test_answers_can_be_restricted_to_frequent_words(run, capsys, words, answers):
    assert called(run, *words) == 0

    found = [line.split("\t")[-1] for line in capsys.readouterr().out.splitlines()[1:]]
    assert found[: len(answers)] == answers and (len(found) == len(answers)) == ("--restrict-vocab" in words)


def test_rare_answers_of_an_analogy_are_pointed_out(run, capsys):
    called(run, "analogy", "king - man + woman")
    said = capsys.readouterr().err
    assert said == "4 answers of 5 occur fewer than 20 times; --restrict-vocab 5000 answers with frequent words only\n"


def test_an_analogy_may_be_one_argument_with_capitals(run, capsys):
    assert called(run, "analogy", "King - Man + Woman") == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("queen")


@pytest.mark.parametrize("how", ["input", "output", "sum", "average"])
def test_the_similarity_of_two_words_is_their_cosine(run, capsys, how):
    table = {"input": INPUT, "output": OUTPUT, "sum": INPUT + OUTPUT, "average": (INPUT + OUTPUT) / 2}[how]

    assert called(run, "similarity", "king", "queen", "--combine", how) == 0

    assert float(capsys.readouterr().out) == pytest.approx(cosine(table[0], table[1]), abs=1e-4)


@pytest.mark.parametrize(("options", "is_binary"), [([], True), (["--text"], False)])
def test_gensim_reads_the_exported_vectors(run, tmp_path, capsys, options, is_binary):
    from gensim.models import KeyedVectors

    assert called(run, "export", str(tmp_path / "vectors.kv"), *options) == 0

    read = KeyedVectors.load_word2vec_format(tmp_path / "vectors.kv", binary=is_binary)
    assert read.index_to_key == WORDS
    np.testing.assert_array_equal(read.vectors, INPUT)
    assert f"binary={is_binary}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nearest", "quean"], "'quean' is none of the 8 words with a vector. Did you mean queen?"),
        (["similarity", "king", "xyzzy"], "'xyzzy' is none of the 8 words with a vector."),
        (["analogy", "king - man"], "analogy: got 'king - man'; allowed: three words, the first minus the second plus"),
        (["analogy", "king-man+woman"], "write it with spaces, as in: king - man + woman"),
        (["analogy", "king - man + wommen"], "Did you mean woman"),
        (["export", "missing/folder/vectors.kv"], "cannot be written"),
    ],
)
def test_bad_input_is_answered_in_one_line(run, capsys, words, message):
    assert called(run, *words) != 0

    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "words.json").write_text('{"words": ["a"]}'), "it has no words of a model"),
        (lambda folder: vectors_file.write(folder, WORDS[:3], COUNTS[:3]), "the files differ"),
        (lambda folder: (folder / MODEL).write_bytes(b"PK"), "model.keras"),
        (
            lambda folder: Artifacts(folder).write_settings(edited(Settings(), {"vector_size": 9})),
            "the files differ",
        ),
    ],
)
def test_files_that_do_not_fit_are_named(run, spoil, message):
    spoil(run)

    with pytest.raises(ValueError, match=message):
        vectors.load(run)


def test_a_model_file_without_tables_is_refused(run):
    with zipfile.ZipFile(run / MODEL) as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile(run / MODEL, "w") as archive:
        archive.writestr("config.json", config)

    with pytest.raises(ValueError, match="it has no word vectors"):
        vectors.load(run)


def test_the_words_of_a_trial_are_kept_with_their_counts(run):
    assert json.loads((run / "words.json").read_text(encoding="utf-8")) == {"words": WORDS, "counts": COUNTS}


def test_the_analogies_of_the_documents_come_from_trials_of_different_seeds(run, home, tmp_path, monkeypatch, capsys):
    other = written(tmp_path / "other", seed=3)
    monkeypatch.setattr(analogies, "FILE", tmp_path / "x.md")
    monkeypatch.setattr(analogies, "EXPECTED", {"king - man + woman": "queen", "prince - man + woman": "paris"})
    monkeypatch.setattr(analogies, "FREQUENT", 7)

    assert analogies.main([str(other), str(run)]) == 0
    text = (tmp_path / "x.md").read_text(encoding="utf-8")
    assert "| king (50) - man (30) + woman (20) | queen (40) | all 8 | 1, 1 | queen (40), princess (9), " in text
    assert (
        "| prince (10) - man (30) + woman (20) | paris (8) | the 7 most frequent | 4, 4 | queen (40), princess (9), "
        in text
    )
    assert "seeds 0, 3; a trial of `task=word_vectors` with `vector_size=4`." in text

    assert analogies.main([]) == analogies.main([str(run), str(run)]) == 2
    assert "the trials must have equal settings and different seeds" in capsys.readouterr().err
    monkeypatch.setattr(analogies, "FREQUENT", 5)
    assert analogies.main([str(run)]) == 2
    assert "'paris' is none of the 2 words that can answer prince - man + woman" in capsys.readouterr().err
