from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from src.config.settings import edited
from src.data import word_tests
from src.data.tokens import words
from src.data.word_pairs import NONE
from src.spec.record import END, EVALUATION, STEP
from src.spec.section import SettingsError
from src.spec.task import Trial
from src.tasks.word_vectors import corpus, examples, scores, toggles, vectors
from src.tasks.word_vectors.model import word_model
from src.tasks.word_vectors.settings import Settings
from src.tasks.word_vectors.task import TASK
from src.training.phase import Learner
from src.training.update import new_optimizer, updater

SMALL = {"vector_size": 6, "batch_size": 16, "negative": 3, "min_count": 1, "sample": 0.0, "window": 2, "epochs": 2}
LETTERS = "abcdefghij"


@pytest.fixture
def file(home, tmp_path):
    """Returns a file of 60 texts of two lines each, of letters that are often neighbours in the alphabet."""
    rng, path, texts = np.random.default_rng(0), tmp_path / "lines.txt", []
    for _ in range(60):
        lines = []
        for _ in range(2):
            begin, count = rng.integers(10), rng.integers(2, 12)
            lines.append(" ".join(LETTERS[(begin + step + rng.integers(2)) % 10] for step in range(count)))
        texts.append("\n".join(lines))
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path


def of_file(path, **changes):
    """Returns settings of the file, normalised, and its data."""
    settings = Settings(data={"name": "text", "path": str(path)}, **SMALL | changes)
    data = TASK.load(settings)
    for rule in TASK.inert:
        if rule.applies(settings):
            settings = settings.model_copy(update={rule.key: rule.value})
    return TASK.resolve(settings, data)[0], data


def training_lines(path, *, across_lines):
    """Returns the training texts of the file as words, read in another way than the task reads them."""
    texts = path.read_text(encoding="utf-8").split("\n\n")[:42]
    return [words(part) for text in texts for part in ([text] if across_lines else text.split("\n"))]


def plain_pairs(lines, window):
    return sorted(
        (one, line[j])
        for line in lines
        for i, one in enumerate(line)
        for j in range(max(0, i - window), min(len(line), i + window + 1))
        if i != j
    )


def pairs_of(settings, data, epoch=1):
    """Returns the pairs of words of an epoch, and their batches."""
    names = corpus.words_of(settings, data)
    batches = list(examples.Training(settings, data).epoch(epoch))
    pairs = [
        (names[context], names[true])
        for contexts, candidates in batches
        for (context,), true in zip(contexts.tolist(), candidates[:, 0].tolist(), strict=True)
    ]
    return pairs, batches


# Data


@pytest.mark.parametrize("across_lines", [True, False])
def test_an_epoch_has_each_pair_of_the_texts_or_of_their_lines_once(file, across_lines):
    settings, data = of_file(file, across_lines=across_lines, shrink_windows=False)

    pairs, batches = pairs_of(settings, data)

    assert sorted(pairs) == plain_pairs(training_lines(file, across_lines=across_lines), 2)
    assert examples.Training(settings, data).count == len(pairs)
    assert examples.Training(settings, data).batches == len(batches)
    assert pairs != pairs_of(settings, data, epoch=2)[0]
    assert pairs == pairs_of(settings, data)[0]


def test_an_epoch_of_random_windows_has_as_many_full_batches_as_promised(file):
    for seed in range(5):
        settings, data = of_file(file, seed=seed, sample=0.05)

        batches = list(examples.Training(settings, data).epoch(1))

        assert len(batches) == examples.Training(settings, data).batches
        assert {len(contexts) for contexts, _ in batches} == {16}


def test_smaller_windows_have_fewer_pairs_and_subsampling_removes_words(file):
    whole, shrunk, sampled = (
        examples.Training(*of_file(file, **changes)).count
        for changes in ({"shrink_windows": False}, {}, {"sample": 0.02})
    )

    assert sampled < shrunk < whole


def test_a_bag_of_words_has_the_words_around(file):
    settings, data = of_file(file, architecture="cbow", shrink_windows=False)
    names = [*corpus.words_of(settings, data), "-"]

    found = [
        (names[true], "".join(sorted(names[one] for one in row if one != NONE)))
        for contexts, candidates in examples.Training(settings, data).epoch(1)
        for row, true in zip(contexts.tolist(), candidates[:, 0].tolist(), strict=True)
    ]

    lines = training_lines(file, across_lines=True)
    plain = [
        (one, "".join(sorted(line[max(0, i - 2) : i] + line[i + 1 : i + 3])))
        for line in lines
        for i, one in enumerate(line)
    ]
    assert sorted(found) == sorted(plain)


def test_padding_is_a_word_only_if_it_is_asked_for(file):
    settings, data = of_file(file, shrink_windows=False)
    padded, _ = of_file(file, shrink_windows=False, pad_pairs=True)

    assert corpus.PADDING not in {word for pair in pairs_of(settings, data)[0] for word in pair}
    lines = [[*line, corpus.PADDING, corpus.PADDING] for line in training_lines(file, across_lines=True)]
    assert sorted(pairs_of(padded, data)[0]) == plain_pairs(lines, 2)
    assert corpus.counts_of(padded, data)[-1] == 2 * len(lines)


def test_rare_words_are_removed_and_the_rest_is_ordered_by_frequency(file):
    settings, data = of_file(file, vocab_size=6)

    counts = corpus.counts_of(settings, data)

    assert len(counts) == len(corpus.words_of(settings, data)) == 6
    assert (np.diff(counts) <= 0).all()
    every = [word for line in training_lines(file, across_lines=True) for word in line]
    assert counts.tolist() == [every.count(word) for word in corpus.words_of(settings, data)]
    rare = of_file(file, min_count=int(data.counts[3]))[0]
    assert corpus.word_count(rare, data) == int((data.counts >= data.counts[3]).sum())


def negatives_of(settings, data, epoch):
    """Returns pair of places → its negatives. Places are recovered from a corpus in which every word is unique."""
    return {
        (int(context), int(candidates[0])): tuple(candidates[1:].tolist())
        for contexts, rows in examples.Training(settings, data).epoch(epoch)
        for (context,), candidates in zip(contexts, rows, strict=True)
    }


def test_fixed_negatives_are_the_same_in_every_epoch_and_redrawn_ones_are_not(home, tmp_path):
    path = tmp_path / "unique.txt"  # no word occurs twice, so that a pair of words is a pair of places
    numbers = itertools.count()
    path.write_text("\n\n".join(" ".join(f"w{next(numbers)}" for _ in range(6)) for _ in range(30)), encoding="utf-8")

    fixed, data = of_file(path, negatives="fixed", hits="resample", shrink_windows=False)
    redrawn, _ = of_file(path, hits="resample", shrink_windows=False)

    assert negatives_of(fixed, data, 1) == negatives_of(fixed, data, 2)
    assert negatives_of(redrawn, data, 1) != negatives_of(redrawn, data, 2)
    other = fixed.model_copy(update={"seed": 1})
    assert negatives_of(other, data, 1) != negatives_of(fixed, data, 1)
    drawn = np.array(list(negatives_of(fixed, data, 1).values()))
    assert len(np.unique(drawn[:, 0] * 1_000 + drawn[:, 1])) > len(drawn) / 2  # the negatives of a pair differ


@pytest.mark.parametrize("negatives", ["redrawn", "fixed"])
def test_hits_are_kept_dropped_or_drawn_again(file, negatives):
    found = {}
    for hits in ("allow", "drop", "resample"):
        settings, data = of_file(file, hits=hits, negatives=negatives)
        rows = np.concatenate([candidates for _, candidates in examples.Training(settings, data).epoch(1)])
        is_hit = rows[:, 1:] == rows[:, :1]
        found[hits] = (int(is_hit.sum()), int((rows == NONE).sum()))

    assert found["allow"][0] > 0 and found["allow"][1] == 0
    assert found["drop"] == (0, found["allow"][0])  # the same draws
    assert found["resample"] == (0, 0)


def test_held_out_examples_are_whole_windows_of_their_split_and_the_same_for_all_seeds(file):
    settings, data = of_file(file)
    names = corpus.words_of(settings, data)

    contexts, candidates = examples.held_out(settings, data, "validation")

    texts = [words(text) for text in file.read_text(encoding="utf-8").split("\n\n")[42:48]]
    pairs = [(names[one], names[true]) for (one,), true in zip(contexts.tolist(), candidates[:, 0], strict=True)]
    assert sorted(pairs) == plain_pairs(texts, 2)
    again = examples.held_out(settings.model_copy(update={"seed": 5}), data, "validation")
    np.testing.assert_array_equal(candidates, again[1])


# Training


def test_a_step_adds_the_gradient_of_every_pair_of_the_batch(file):
    settings, data = of_file(file, learning_rate=0.1, execution="graph")
    phase, model = TASK.phase(settings, data), TASK.model(settings, data)
    rng = np.random.default_rng(0)
    layer = model.get_layer("words")
    layer.output_table.assign(rng.normal(size=layer.output_table.shape))
    before = [layer.input_table.numpy().astype(float), layer.output_table.numpy().astype(float)]
    learner = Learner(model, phase, TASK.metrics, settings)
    inputs, targets, _ = next(iter(phase.training(1)))

    updater(learner, on_trace=lambda: None, optimizer=new_optimizer(model, settings))(inputs, targets, True)

    table, output = (one.copy() for one in before)
    for (word,), (true, *negatives) in zip(inputs[0].numpy().tolist(), inputs[1].numpy().tolist(), strict=True):
        for candidate in (true, *(one for one in negatives if one != NONE)):
            error = 1 / (1 + math.exp(-before[0][word] @ before[1][candidate])) - (candidate == true)
            table[word] -= 0.1 * error * before[1][candidate]
            output[candidate] -= 0.1 * error * before[0][word]
    assert learner.has_slices
    np.testing.assert_allclose(layer.input_table.numpy(), table, atol=1e-5)
    np.testing.assert_allclose(layer.output_table.numpy(), output, atol=1e-5)


@pytest.mark.parametrize("changes", [{"execution": "xla"}, {"accumulate": 2, "batch_size": 8}, {"clip_norm": 1e9}])
def test_slices_accumulated_and_dense_gradients_are_the_same_step(file, changes):
    after = []
    for options in ({"execution": "graph"}, {"execution": "graph", **changes}):
        settings, data = of_file(file, shrink_windows=False, **options)
        phase, model = TASK.phase(settings, data), TASK.model(settings, data)
        learner = Learner(model, phase, TASK.metrics, settings)
        update = updater(learner, on_trace=lambda: None, optimizer=new_optimizer(model, settings))
        for number, (inputs, targets, _) in enumerate(itertools.islice(phase.training(1), settings.accumulate), 1):
            update(inputs, targets, number == settings.accumulate)
        after.append(model.get_weights()[0])

    np.testing.assert_allclose(after[0], after[1], atol=1e-6)


def trained(settings, data, folder):
    folder.mkdir(exist_ok=True)
    return list(TASK.records(Trial(settings, data, folder, "trial", True, "attempt", "0123")))


@pytest.mark.training
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"architecture": "cbow", "select": "loss"},
        {"loss": "full", "combine": "sum"},
        {"loss": "sampled", "hits": "resample", "execution": "graph_epoch"},
        {"architecture": "ppmi_svd"},
    ],
)
def test_a_trial_trains_is_judged_and_leaves_its_files(file, tmp_path, changes):
    settings, data = of_file(file, learning_rate=0.1, epochs=3, **changes)
    assert TASK.refusals(settings, data) == []

    records = trained(settings, data, tmp_path / "trial")

    end = records[-1]
    assert end.kind == END and end.detail["tags"]["ablation.health"] == "ok", end
    judged = [record.metrics for record in records if record.kind == EVALUATION]
    times = {name for record in records if record.kind != STEP for name in record.metrics if "time/" in name}
    if settings.architecture == "ppmi_svd":  # its steps are empty; the time is that of counting
        assert len(judged) == 1 and times == {"time/train_s"} and end.metrics["time/train_s"] > 0
        with pytest.raises(SettingsError, match="it is fitted, not trained in steps"):
            list(TASK.timed(settings, data, every=1))
    else:
        assert {"time/train_s", "time/epoch_s", "time/batch_ms_median"} <= times
        untrained = {"full": math.log(10), "negative": 3.5 * math.log(2), "sampled": math.log(4)}
        assert judged[-1]["val/loss"] < 0.9 * untrained[settings.loss]
        assert judged[-1]["val/cross_entropy"] < 0.95 * math.log(10)
    assert {"words.json", "analogies.json", "model.keras"} <= {path.name for path in (tmp_path / "trial").iterdir()}


@pytest.mark.training
def test_counted_and_trained_vectors_find_the_neighbours_in_the_alphabet(file):
    for changes in ({"architecture": "ppmi_svd", "ns_exponent": 1.0}, {"learning_rate": 0.2, "execution": "graph"}):
        settings, data = of_file(file, vector_size=3, **changes)
        model, phase = TASK.model(settings, data), TASK.phase(settings, data)
        learner = Learner(model, phase, TASK.metrics, settings)
        update = updater(learner, on_trace=lambda: None, optimizer=new_optimizer(model, settings))
        for epoch in range(1, 13):
            for inputs, targets, _ in phase.training(epoch):
                update(inputs, targets, True)
        names = corpus.words_of(settings, data)
        found = vectors.Vectors(names, [1] * 10, vectors.of_model(model, "input"))

        near = [found.nearest(word, 4) for word in names]

        distances = [
            min((ord(one.word) - ord(word)) % 10, (ord(word) - ord(one.word)) % 10)
            for word, best in zip(names, near, strict=True)
            for one in best
        ]
        assert np.mean(distances) < 1.9, changes  # 2.8 by chance


def test_the_learning_rate_falls_linearly_to_its_end(file):
    settings, _ = of_file(file)
    schedule = TASK.schedule(settings, steps=100)

    rates = [float(schedule(step)) for step in (0, 50, 100)]

    np.testing.assert_allclose(rates, [0.05, (0.05 + 1e-4) / 2, 1e-4], rtol=1e-5)
    assert TASK.schedule(edited(settings, {"learning_rate_end": None}), steps=100) is None


def test_select_names_the_metric_that_chooses_the_epoch():
    assert [TASK.selection(Settings(select=name)).name for name in ("loss", "wordsim")] == ["loss", "wordsim"]
    assert TASK.selection(Settings()).name == "cross_entropy"


@pytest.mark.parametrize(("loss", "sample"), [("negative", 0.02), ("full", 0.02), ("sampled", 0.0)])
def test_the_cross_entropy_of_the_best_scores_is_that_of_the_words_themselves(file, loss, sample):
    """Scores that each loss would reach without limits are judged alike: as the probabilities of the texts."""
    settings, data = of_file(file, loss=loss, sample=sample, vector_size=10)
    counts = corpus.counts_of(settings, data)
    noise = examples.noise_of(settings, counts).shares
    kept = plain_shares(counts, sample)
    shares = counts / counts.sum()
    subsampled = shares * kept / (shares * kept).sum()
    reached = np.log(subsampled / noise if loss == "negative" else subsampled)  # a context that tells nothing
    model = word_model(settings, data)
    layer = model.get_layer("words")
    layer.input_table.assign(np.eye(10)[[0] * 10])
    layer.output_table.assign(np.outer(reached, np.eye(10)[0]))

    judged = model([np.zeros((10, 1), np.int32), np.arange(10, dtype=np.int32)[:, None]])["cross_entropy"]

    np.testing.assert_allclose(np.exp(-np.asarray(judged)), shares, rtol=1e-4)


def plain_shares(counts, sample):
    f = counts / counts.sum()
    return np.minimum(1, np.sqrt(sample / f) + sample / f) if sample else np.ones(len(f))


# Tests of words


def test_the_tests_of_words_have_their_published_sizes():
    assert len(word_tests.judged(word_tests.WORDSIM)) == 353
    assert len(word_tests.judged(word_tests.SIMLEX)) == 999
    assert len(word_tests.questions()) == 19_544
    assert len({one.section for one in word_tests.questions()}) == 14


def test_correlations_and_analogies_are_those_of_gensim():
    from gensim.models import KeyedVectors
    from gensim.test.utils import datapath

    rng = np.random.default_rng(0)
    known = sorted({word for one in word_tests.questions()[:2_000] for word in one[1:]})
    known += sorted({pair.one for pair in word_tests.judged(word_tests.WORDSIM)})[:150]
    known += sorted({pair.other for pair in word_tests.judged(word_tests.WORDSIM)})[:150]
    names = list(dict.fromkeys(known))
    table = rng.normal(size=(len(names), 5)).astype(np.float32)
    peer = KeyedVectors(5)
    peer.add_vectors(names, table)

    found = scores.of_vectors(table, names)
    ids = {word: number for number, word in enumerate(names)}
    rows = scores.by_section(scores.unit(table), ids)

    _, spearman, _ = peer.evaluate_word_pairs(datapath("wordsim353.tsv"))
    share, sections = peer.evaluate_word_analogies(datapath("questions-words.txt"))
    assert found["wordsim"] == pytest.approx(spearman[0], abs=1e-6)
    assert found["analogies"] == pytest.approx(share)
    of_peer = {one["section"]: len(one["correct"]) for one in sections if not one["section"].startswith("Total")}
    assert {row["section"]: row["added"] for row in rows if row["section"] != "all"} == of_peer
    assert scores.pair_counts(names)["analogies"] == rows[-1]["answered"] == len(scores.asked(ids))


def test_3cosmul_multiplies_cosines_and_never_answers_with_a_word_of_the_question():
    rng = np.random.default_rng(1)
    units = scores.unit(rng.normal(size=(8, 3)))
    questions = np.array([[a, b, c, d] for a, b, c, d in itertools.permutations(range(8), 4)][:300])

    right = scores.answered(units, questions, scores.multiplied)

    for (a, b, c, d), is_right in zip(questions.tolist(), right.tolist(), strict=True):
        shifted = (1 + units @ units.T) / 2
        values = {x: shifted[x, b] * shifted[x, c] / (shifted[x, a] + 0.001) for x in range(8) if x not in (a, b, c)}
        assert is_right == (max(values, key=values.get) == d)


def test_too_few_known_words_give_no_number():
    found = scores.of_vectors(np.eye(3, dtype=np.float32), ["x", "y", "z"])

    assert all(math.isnan(value) for value in found.values())


# Refusals


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"negative": 10}, "negative=10 needs more words than the 10 with a vector; set negative below 10, or loss="),
        ({"window": 1_000}, "words for training, too few for window=1000; lower window or min_count, or use more text"),
        (
            {"min_count": 10_000},
            "fewer than two words occur min_count=10000 times or more in training; lower min",
        ),
        ({"architecture": "ppmi_svd", "vector_size": 20}, "vector_size=20 needs more words than the 10 with a vector"),
    ],
)
def test_impossible_combinations_are_refused_with_their_fix(file, changes, text):
    settings, data = of_file(file, **changes)

    assert text in TASK.refusals(settings, data)[0]


def test_a_full_softmax_that_does_not_fit_is_refused(file, monkeypatch):
    monkeypatch.setattr("src.parts.sizes.memory_mb", lambda: 755.0)
    settings, data = of_file(file, loss="full", batch_size=60_000)

    (refusal,) = TASK.refusals(settings, data)

    assert refusal.startswith("loss=full batch_size=60000 vector_size=6 with 10 words needs about")
    assert "set loss=negative, or a smaller batch_size" in refusal
    assert TASK.refusals(*of_file(file)) == []


def test_the_memory_of_a_full_softmax_grows_with_the_words():
    full, drawn = Settings(loss="full"), Settings()

    assert toggles.required_mb(full, rows=30_000) > 4_096 * 30_000 * 4 / 2**20
    assert toggles.required_mb(drawn, rows=30_000) < 1_500


def test_more_words_than_there_are_is_the_same_as_all(file):
    settings, _ = of_file(file, vocab_size=500)

    assert settings.vocab_size is None
    assert of_file(file, vocab_size=4)[0].vocab_size == 4


def test_the_plan_shows_the_number_of_pairs(file):
    settings, data = of_file(file, shrink_windows=False)
    count = len(plain_pairs(training_lines(file, across_lines=True), 2))

    lines = TASK.summary([settings, settings.model_copy(update={"window": 1})], data)

    assert f"{count:,} pairs an epoch" in lines[1]
    assert lines[2].startswith("  window=1: ")
    assert TASK.measures(settings, data)["data/pairs"] == count


def test_every_step_of_a_trial_is_traced_once(file):
    settings, data = of_file(file, shrink_windows=False)
    phase = TASK.phase(settings, data)
    traces = []
    update = updater(
        Learner(TASK.model(settings, data), phase, TASK.metrics, settings), on_trace=lambda: traces.append(1)
    )
    for inputs, targets, _ in phase.training(1):
        update(inputs, targets, True)
    assert len(traces) <= 2
    assert isinstance(inputs[0], tf.Tensor)
