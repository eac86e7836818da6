from __future__ import annotations

import itertools
import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from src.config.settings import edited
from src.data.files import DataError
from src.data.tokens import START, words
from src.models.cells import CELLS
from src.models.text_loop import TextLoop
from src.models.word_loss import WordLoss, draw_ids, sampled_losses, word_losses
from src.models.word_vectors import DropWords, StatePenalty
from src.spec.record import END as LAST
from src.spec.task import Trial
from src.tasks.language_model import sizes, texts
from src.tasks.language_model.model import language_model
from src.tasks.language_model.settings import Settings
from src.tasks.language_model.task import TASK
from src.tasks.language_model.texts import END, FIRST_PREDICTED
from src.training import model_file
from src.training.evaluation import evaluators
from src.training.phase import Learner
from src.training.update import updater

V, D, H = 12, 5, 4
SMALL = {"vocab_size": V, "embedding_dim": D, "units": H, "batch_size": 4, "dropout": 0.0, "softmax": "full"}
MODES = [  # every way to pad whole texts
    {"padding": "dataset"},
    {"padding": "dataset", "padding_side": "pre"},
    {"padding": "batch"},
    {"padding": "batch", "padding_side": "pre"},
    {"padding": "batch", "bucketing": False},
    {"padding": "equal"},
    {"padding": "batch", "bucketing": False, "implementation": "packed_loop"},
    {"padding": "batch", "padding_side": "pre", "implementation": "packed_loop"},
    {"padding": "batch", "padding_side": "pre", "implementation": "keras"},
]


@pytest.fixture
def file(home, tmp_path):
    """Returns a file of 60 lines of 1 to 15 letters, a cycle of ten with some noise."""
    rng = np.random.default_rng(0)
    path = tmp_path / "lines.txt"
    lines = []
    for _ in range(60):
        begin, count = rng.integers(10), rng.integers(1, 16)
        letters = [(begin + step) % 10 if rng.random() < 0.95 else rng.integers(10) for step in range(count)]
        lines.append(" ".join("abcdefghij"[letter] for letter in letters))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def of_file(path, limit=None, **changes):
    """Returns settings of the file, normalised, and its data."""
    settings = Settings(data={"name": "text", "path": str(path), "texts": "line", "limit": limit}, **SMALL | changes)
    data = TASK.load(settings)
    for rule in TASK.inert:
        if rule.applies(settings):
            settings = settings.model_copy(update={rule.key: rule.value})
    settings, _ = TASK.resolve(settings, data)
    assert TASK.refusals(settings, data) == []
    return settings, data


def randomised(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    return model


def totals(model, phase, batches):
    """Returns the sum of the losses, the number of words, and the gradient of the sum, over batches."""
    loss, count, gradients = 0.0, 0.0, None
    for ids, targets, _ in batches:
        with tf.GradientTape() as tape:
            values, weights = phase.measure(model(ids, training=False), targets)["loss"]
            value = tf.reduce_sum(values)
        of_batch = [tf.convert_to_tensor(one).numpy() for one in tape.gradient(value, model.trainable_variables)]
        gradients = of_batch if gradients is None else [a + b for a, b in zip(gradients, of_batch, strict=True)]
        loss, count = loss + float(value), count + float(tf.reduce_sum(weights))
    return loss, count, gradients


def counted(phase, ids):
    """Returns the number of words of a batch, by the measure of the phase."""
    outputs = {"losses": tf.zeros(ids[:, 1:].shape)}
    return int(tf.reduce_sum(phase.measure(outputs, ids)["loss"][1]))


def softmax(x):
    shares = np.exp(x - x.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


# Data


def test_every_word_and_every_end_is_predicted_once_in_every_mode(file):
    lines = [words(line) for line in file.read_text(encoding="utf-8").splitlines()]
    expected = {"train": lines[:42], "validation": lines[42:48], "test": lines[48:]}
    counts = {name: sum(len(line) + 1 for line in part) for name, part in expected.items()}

    for changes in MODES:
        settings, data = of_file(file, text_mode="documents", **changes)
        phase = TASK.phase(settings, data)
        batches = {"train": phase.training(1), **{name: batches() for name, batches in phase.held_out.items()}}
        found = {name: sum(counted(phase, ids) for ids, _, _ in part) for name, part in batches.items()}
        assert found == counts == texts.word_counts(data)


def test_a_stream_predicts_every_word_but_less_than_a_piece_and_tests_the_same_words(file):
    settings, data = of_file(file, length=7)
    phase = TASK.phase(settings, data)
    line = texts.with_ends(data.split("train"), V).ids

    batches = [(ids.numpy(), rows.numpy()) for ids, _, rows in phase.training(1)]
    pieces, rows = (np.concatenate(parts) for parts in zip(*batches, strict=True))

    assert len(pieces) == (len(line) - 1) // 7
    np.testing.assert_array_equal(pieces[np.argsort(rows)][:, 1:].ravel(), line[1 : 1 + 7 * len(pieces)])
    assert not np.array_equal(rows, np.concatenate([rows.numpy() for _, _, rows in phase.training(2)]))
    counts = texts.word_counts(data)
    counted = sum(int((ids.numpy()[:, 1:] >= FIRST_PREDICTED).sum()) for ids, _, _ in phase.held_out["test"]())
    assert counted == counts["test"]
    assert 0 <= counts["train"] - int((pieces[:, 1:] >= FIRST_PREDICTED).sum()) < 7


def test_an_end_follows_each_text_and_a_start_precedes_it(file):
    _, data = of_file(file)
    split = data.split("test")

    ended = texts.with_ends(split, V)

    for row in range(len(split.labels)):
        text = ended.ids[ended.starts[row] : ended.starts[row + 1]]
        assert text[0] == START and text[-1] == END
        known = split.ids[split.starts[row] + 1 : split.starts[row + 1]]
        np.testing.assert_array_equal(text[1:-1], np.where(known < V, known, 2))


def test_parallel_streams_continue_from_batch_to_batch(file):
    settings, data = of_file(file, length=7, stateful=True)
    line = texts.with_ends(data.split("train"), V).ids
    steps = (len(line) - 1) // 4

    ids = [ids.numpy() for ids, _, _ in TASK.phase(settings, data).training(1)]

    assert len(ids) == -(-steps // 7) and (ids[0][:, 0] == 0).all()
    for stream in range(4):
        read = np.concatenate([batch[stream, 1:] for batch in ids])
        np.testing.assert_array_equal(read, line[stream * steps + 1 : (stream + 1) * steps + 1])
    assert all((later[:, 0] == earlier[:, -1]).all() for earlier, later in itertools.pairwise(ids))


@pytest.mark.parametrize("stateful", [True, False])
def test_random_lengths_fill_the_stream_anew_in_each_epoch(stateful):
    settings = Settings(length=20, batch_size=3, bptt_random=True, stateful=stateful)
    ids = np.arange(100, 100 + 3 * 2_000 + 2, dtype=np.int32)
    stream = texts.Stream(settings, ids)

    epochs = [[batch for batch, _ in stream.epoch(number)] for number in (1, 1, 2)]

    lengths = [[batch.shape[1] - 1 for batch in epoch] for epoch in epochs]
    assert lengths[0] == lengths[1] != lengths[2]
    assert all(len(epoch) == stream.batches == round(2_000 / 19.5) for epoch in epochs)
    assert sum(lengths[0]) == 2_000 and np.std(lengths[0]) > 1 and abs(np.median(lengths[0]) - 20) < 1
    predicted = np.concatenate([batch[:, 1:].ravel() for batch in epochs[2]])
    np.testing.assert_array_equal(np.sort(predicted), ids[1:6_001])


def test_a_limit_of_the_length_truncates_training_texts_but_no_test_text(file):
    settings, data = of_file(file, text_mode="documents", max_length=6)
    phase = TASK.phase(settings, data)

    longest = {name: max(ids.shape[1] for ids, _, _ in part()) for name, part in
               {"train": lambda: phase.training(1), **phase.held_out}.items()}  # fmt: skip

    assert longest["train"] == 6 < longest["test"]
    assert all((ids.numpy()[:, 0] == START).all() for ids, _, _ in phase.training(1))


def test_the_share_of_unknown_words_counts_ends():
    class Data:
        def split(self, name):
            return texts.Sequences(np.array([1, 4, 9, 2, 1, 5], np.int32), np.array([0, 4, 6]), np.zeros(2, np.int32))

    assert set(texts.unknown_shares(Settings(vocab_size=8), Data()).values()) == {2 / 6}


def test_a_constant_guess_has_the_perplexity_of_the_shares_in_training():
    train, held_out = np.array([1, 4, 4, 5, 3, 0]), np.array([1, 4, 6, 3])

    shares = {3: 2 / 9, 4: 3 / 9, 6: 1 / 9}  # one of each of the five ids from 2 to 6 is added to four words
    expected = np.exp(-np.mean([np.log(shares[word]) for word in (4, 6, 3)]))

    assert texts.unigram_perplexity(train, held_out, 7) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0", "line 1: byte 0x89 is not UTF-8"),
        (b"\x1f\x8b\x08", "it is compressed"),
        (b"a\0b\n" * 20, "zero byte"),
        (b"one line\n", "1 line; at least 10 are required; set data.texts=paragraph"),
        (b"word " * 10_000_000, "line 1 has 49,999,999 characters; allowed for one text: up to 10,000,000"),
        (b"...\n" * 20, "no training text contains a word"),
    ],
)
def test_an_error_names_a_text_file_that_cannot_be_used(home, tmp_path, content, message):
    (tmp_path / "x.txt").write_bytes(content)

    with pytest.raises(DataError) as error:
        of_file(tmp_path / "x.txt")

    assert str(tmp_path / "x.txt") in str(error.value) and message in str(error.value)


def test_a_paragraph_is_a_text_unless_lines_are_asked_for(home, tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(b"\r\n\r\n".join(b"first line %d\r\nsecond line" % number for number in range(20)))

    paragraphs = TASK.load(Settings(data={"name": "text", "path": str(path)}))
    lines = TASK.load(Settings(data={"name": "text", "path": str(path), "texts": "line"}))

    assert (paragraphs.rows, lines.rows) == (
        {"train": 14, "validation": 2, "test": 4},
        {"train": 28, "validation": 4, "test": 8},
    )
    assert paragraphs.split("train").lengths[0] == 6  # the start and five words


def test_whole_plays_make_the_splits_of_shakespeare(home, tmp_path):
    for number in range(12):
        play = f"# Play\n\n## ACT I\n\n### SCENE I.\n\n_Enter_\n\n**WHO**  \nplay{number}\n"
        play += f"\n### SCENE II.\n\nplay{number}\n"
        (tmp_path / f"{number:02}.md").write_text(play, encoding="utf-8")

    data = TASK.load(Settings(data={"name": "shakespeare", "path": str(tmp_path)}))

    assert data.rows == {"train": 18, "validation": 2, "test": 4}
    assert {word for word in data.words(10_000) if word.startswith("play")} == {
        f"play{number}" for number in range(12) if number not in (3, 5, 8)
    }
    assert not {"act", "scene"} & set(data.words(10_000))


# Loss


def test_losses_in_blocks_are_those_of_a_softmax_and_so_is_their_gradient():
    rng = np.random.default_rng(0)
    states, table, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((600, 3), (7, 3), (7,)))
    answers, weights = rng.integers(0, 7, 600), rng.normal(size=600).astype(np.float32)
    inputs = [tf.constant(part) for part in (states, table, bias)]

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        losses = word_losses(inputs[0], tf.constant(answers, tf.int32), *inputs[1:])
        total = tf.reduce_sum(losses * weights)
    gradients = tape.gradient(total, inputs)

    shares = softmax(states @ table.T + bias)
    np.testing.assert_allclose(losses, -np.log(shares[np.arange(600), answers]), rtol=1e-5, atol=1e-6)
    delta = (shares - np.eye(7)[answers]) * weights[:, None]
    for found, expected in zip(gradients, (delta @ table, delta.T @ states, delta.sum(0)), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_only_one_block_of_logits_exists_at_a_time():
    @tf.function(autograph=False)
    def gradient(states, answers, table, bias):
        with tf.GradientTape() as tape:
            tape.watch(table)
            value = tf.reduce_sum(word_losses(states, answers, table, bias))
        return tape.gradient(value, table)

    kinds = [([5_000, 3], "float32"), ([5_000], "int32"), ([77, 3], "float32"), ([77], "float32")]
    graph = gradient.get_concrete_function(*(tf.TensorSpec(*kind) for kind in kinds)).graph
    graphs = [graph, *(one.graph for one in graph._functions.values() if hasattr(one, "graph"))]
    outputs = [output for one in graphs for operation in one.get_operations() for output in operation.outputs]
    shapes = {tuple(output.shape) for output in outputs if output.shape.rank == 2}

    assert (256, 77) in shapes
    assert not {shape for shape in shapes if shape[1] == 77 and shape[0] != 256}


def test_ids_that_are_no_words_have_no_probability():
    head = WordLoss(V, first=FIRST_PREDICTED, skips_others=True)
    states, answers = tf.random.normal((2, 3, H)), tf.constant([[2, 5, 0], [1, 3, 11]])

    losses = head(states, answers)

    shares = softmax(head.logits(states).numpy())
    np.testing.assert_allclose(shares[..., :2], 0)
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-6)
    of_answers = np.take_along_axis(shares, answers.numpy()[..., None], -1)[..., 0]
    expected = np.where(answers >= 2, -np.log(of_answers + 1e-30), 0)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses.numpy()[0, 2] == losses.numpy()[1, 0] == 0


def test_a_sampled_loss_compares_each_word_with_the_drawn_ones():
    rng = np.random.default_rng(0)
    states, table, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3), (9, 3), (9,)))
    answers, drawn = [4, 8], [2, 4, 7, 4]
    ranks = np.arange(7)
    expected = 4 * np.log((ranks + 2) / (ranks + 1)) / np.log(8)  # of each id from 2 to 8, in four draws
    scores = np.exp(states @ table.T + bias)

    losses = sampled_losses(*map(tf.constant, (states, answers, table, bias)), drawn=tf.constant(drawn), first=2)

    assert expected.sum() == pytest.approx(4)
    for row, (answer, others) in enumerate([(4, [2, 7]), (8, [2, 4, 7, 4])]):
        total = scores[row, answer] + sum(scores[row, other] / expected[other - 2] for other in others)
        assert float(losses[row]) == pytest.approx(np.log(total / scores[row, answer]), rel=1e-5)


def test_a_sampled_loss_approaches_that_of_all_words():
    rng = np.random.default_rng(0)
    inputs = [tf.constant(rng.normal(size=shape).astype(np.float32)) for shape in ((4, 3), (9, 3), (9,))]
    answers = tf.constant([2, 3, 5, 8])
    drawn = draw_ids(100_000, first=2, size=9, seed=keras.random.SeedGenerator(0))

    found = sampled_losses(inputs[0], answers, *inputs[1:], drawn=drawn, first=2)

    never = tf.constant([-1e9] * 2 + [0.0] * 7)
    np.testing.assert_allclose(found, word_losses(inputs[0], answers, inputs[1], inputs[2] + never), atol=0.02)


def test_words_are_drawn_as_often_as_the_loss_assumes():
    drawn = draw_ids(100_000, first=2, size=9, seed=keras.random.SeedGenerator(0)).numpy()

    ranks = np.arange(7)
    shares = np.bincount(drawn, minlength=9)[2:] / len(drawn)
    np.testing.assert_allclose(shares, np.log((ranks + 2) / (ranks + 1)) / np.log(8), atol=0.005)


def test_a_model_of_sampled_words_is_judged_by_all_words():
    ids = np.array([[1, 4, 7, 5, 3]], np.int32)
    full, sampled = (
        randomised(language_model(edited(Settings(), {**SMALL, "softmax": how}))) for how in ("full", "sampled")
    )

    np.testing.assert_allclose(sampled(ids)["losses"], full(ids)["losses"], rtol=1e-6)
    first, second = (sampled(ids, training=True)["losses"].numpy() for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("changes", MODES, ids=str)
def test_padding_changes_neither_loss_nor_gradient(file, changes):
    settings, data = of_file(file, limit=9, text_mode="documents", initial_state="learned", **changes)
    phase, model = TASK.phase(settings, data), randomised(language_model(settings))
    split = texts.with_ends(data.split("train"), V)
    alone = [split.ids[a:b][None] for a, b in itertools.pairwise(split.starts)]
    unpadded = edited(settings, {"implementation": "graph_loop", "padding": "equal"})
    plain = language_model(unpadded)
    plain.set_weights(model.get_weights())

    loss, count, gradients = totals(model, phase, phase.training(1))
    expected, words_alone, gradients_alone = totals(
        plain, phase, [(tf.constant(ids), tf.constant(ids), None) for ids in alone]
    )

    assert count == words_alone
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for found, one in zip(gradients, gradients_alone, strict=True):
        np.testing.assert_allclose(found / count, one / count, atol=1e-5 * np.abs(one / count).max())


@pytest.mark.parametrize("text_mode", ["stream", "documents"])
def test_the_batch_size_does_not_change_the_perplexity_of_a_model(file, text_mode):
    found, weights = [], None
    for size in (1, 5, 64):
        settings, data = of_file(file, text_mode=text_mode, batch_size=size, length=3)
        model = randomised(language_model(settings))
        weights = weights or model.get_weights()
        learner = Learner(model, TASK.phase(settings, data), TASK.metrics, settings)
        found.append(evaluators(learner)["test"]().recorded(TASK.metrics, prefix="")["perplexity"])

    np.testing.assert_allclose(found, found[0], rtol=1e-5)
    test = texts.with_ends(data.split("test"), V)
    losses = [model(test.ids[a:b][None])["losses"].numpy().sum() for a, b in itertools.pairwise(test.starts)]
    assert found[0] == pytest.approx(np.exp(sum(losses) / texts.word_counts(data)["test"]), rel=1e-5)


# Model


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
@pytest.mark.parametrize(
    "changes",
    [
        {"tie_weights": True},
        {"tie_weights": True, "units": D},
        {"tie_weights": False, "depth": 2},
        {"encoding": "onehot", "tie_weights": False},
        {"encoding": "onehot_projected"},
    ],
    ids=str,
)
def test_the_number_of_parameters_is_known_before_tensorflow(cell, changes):
    settings = edited(Settings(), {**SMALL, "cell": cell, "initial_state": "learned", **changes})

    assert sizes.parameters(settings) == sum(
        weight.numpy().size for weight in language_model(settings).trainable_variables
    )


@pytest.mark.parametrize("target", [2_000, 2_700, 5_000])
def test_units_are_chosen_for_a_number_of_parameters(target):
    settings = edited(Settings(), {**SMALL, "vocab_size": 200, "embedding_dim": 8, "parameters": target})

    chosen = sizes.units_for(settings).used

    counts = {units: sizes.parameters(edited(settings, {"units": units})) for units in range(1, 60)}
    assert abs(counts[chosen] - target) == min(abs(count - target) for count in counts.values())


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
def test_one_step_at_a_time_gives_the_losses_of_the_whole_text(cell):
    settings = edited(Settings(), {**SMALL, "cell": cell, "depth": 2})
    model = randomised(language_model(settings))
    ids = np.array([[1, 4, 7, 2, 3]], np.int32)
    table = model.get_layer("encoding").table
    states, losses = [None, None], []

    for now, following in itertools.pairwise(ids[0]):
        x = tf.convert_to_tensor(table)[now][None]
        for number in (1, 2):
            weights = model.get_layer(f"recurrent_{number}").get_weights()
            step = CELLS[cell](H)
            step.build((None, x.shape[-1]))
            step.set_weights(weights)
            states[number - 1] = states[number - 1] or step.zero_states(1)
            x, states[number - 1] = step.step(step.project(x), states[number - 1])
        logits = model.get_layer("head").logits(model.get_layer("projection")(x), table)
        losses.append(-np.log(softmax(logits.numpy())[0, following]))

    np.testing.assert_allclose(model(ids)["losses"].numpy()[0], losses, rtol=1e-4)


def test_a_carried_state_makes_two_pieces_one_text():
    ids = np.array([[0, 4, 7, 5, 9, 8, 4], [0, 6, 6, 4, 2, 3, 5]], np.int32)
    carried = randomised(language_model(edited(Settings(), {**SMALL, "stateful": True})))
    plain = randomised(language_model(edited(Settings(), SMALL)))
    whole = plain(ids)["losses"].numpy()

    for _ in range(2):  # the id 0 begins anew
        pieces = [carried(piece, training=True)["losses"].numpy() for piece in (ids[:, :4], ids[:, 3:])]
        np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=1e-5)
    np.testing.assert_allclose(carried(ids[:, 3:])["losses"], plain(ids[:, 3:])["losses"], rtol=1e-5)
    assert len(carried.get_weights()) == len(plain.get_weights())


@pytest.mark.parametrize("loop", ["graph_loop", "eager_loop", "packed_loop", "fused_loop"])
def test_each_batch_drops_other_recurrent_weights_and_the_gradient_reaches_the_raw_ones(loop):
    layer = TextLoop(CELLS["simple_rnn"](30), loop=loop, weight_drop=0.5, seed=3)
    x, ids = tf.random.normal((2, 5, 3)), tf.ones((2, 5), tf.int32)
    layer(x, ids)
    raw = layer.cell.recurrent_kernel.numpy()

    masks, outputs = [], []
    for _ in range(2):
        with tf.GradientTape() as tape:
            output = layer(x, ids, training=True)
            value = tf.reduce_sum(output[:, 1])  # after one product with the recurrent matrix
        outputs.append(output.numpy())
        masks.append(tape.gradient(value, layer.cell.recurrent_kernel.value).numpy() != 0)

    assert not np.array_equal(masks[0], masks[1])
    assert all(0.4 < mask.mean() < 0.6 for mask in masks)
    first = np.tanh(x[:, 0] @ layer.cell.kernel)
    for output, mask in zip(outputs, masks, strict=True):
        second = np.tanh(x[:, 1] @ layer.cell.kernel + first @ (raw * mask * 2))
        np.testing.assert_allclose(output[:, 1], second, atol=1e-5)
    np.testing.assert_array_equal(layer(x, ids), layer(x, ids))
    np.testing.assert_array_equal(layer.cell.recurrent_kernel, raw)


def test_a_word_is_dropped_wherever_it_occurs():
    drop, ids = DropWords(0.5, 40, seed=1), tf.constant(np.random.default_rng(0).integers(0, 40, (30, 20)))
    vectors = tf.ones((30, 20, 2))

    factors = drop(vectors, ids, training=True).numpy()

    by_word = [factors[ids.numpy() == word] for word in range(40)]
    assert all((of_word == of_word[0]).all() and of_word[0, 0] in (0, 2) for of_word in by_word)
    assert 0.25 < np.mean([of_word[0, 0] == 0 for of_word in by_word]) < 0.75
    assert not np.array_equal(factors, drop(vectors, ids, training=True))
    np.testing.assert_array_equal(drop(vectors, ids), vectors)


def test_the_penalties_are_those_of_the_paper_over_real_steps():
    rng = np.random.default_rng(0)
    states, dropped = rng.normal(size=(2, 2, 4, H)).astype(np.float32)
    real = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool)
    layer = StatePenalty(activation=2.0, temporal=3.0)

    found = layer(states, dropped, real, training=True)

    for text, count in ((0, 3), (1, 4)):
        sizes_of = (dropped[text, :count] ** 2).mean(-1).sum()
        changes = ((states[text, 1:count] - states[text, : count - 1]) ** 2).mean(-1).sum()
        assert float(found[text]) == pytest.approx(2 * sizes_of + 3 * changes, rel=1e-5)
    assert (layer(states, dropped, real).numpy() == 0).all()


def test_a_penalty_is_part_of_the_loss_but_not_of_the_perplexity():
    losses, ids = tf.constant([[1.0, 2.0]]), tf.constant([[1, 4, 3]])

    found = texts.measure({"losses": losses, "penalty": tf.constant([0.5])}, ids)

    assert {name: (float(value[0]), float(weight[0])) for name, (value, weight) in found.items()} == {
        "loss": (3.5, 2.0),
        "cross_entropy": (3.0, 2.0),
    }


def test_locked_dropout_drops_the_same_units_at_all_steps():
    settings = edited(Settings(), {**SMALL, "dropout": 0.5, "dropout_locked": True, "units": 50})
    layer = language_model(settings).get_layer("dropout_output")

    factors = layer(tf.ones((3, 6, 50)), training=True).numpy()

    assert (factors == factors[:, :1]).all() and not (factors[0] == factors[1]).all()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stateful": True, "weight_drop": 0.5, "dropout_embedding": 0.5},
        {"temporal_penalty": 1.0, "tie_weights": False, "initial_state": "learned"},
    ],
    ids=str,
)
def test_a_saved_model_reloads(changes, tmp_path):
    model = randomised(language_model(edited(Settings(), {**SMALL, **changes})))
    ids = np.array([[1, 4, 7, 5, 3]], np.int32)

    model_file.write(tmp_path, model)

    np.testing.assert_allclose(model_file.load(tmp_path)(ids)["losses"], model(ids)["losses"], rtol=1e-6)


# Rules


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bidirectional": True}, "bidirectional=true does not work with task=language_model"),
        ({"stateful": True, "text_mode": "documents"}, "stateful=true does not work with text_mode=documents"),
        ({"stateful": True, "implementation": "keras"}, "stateful=true does not work with implementation=keras"),
        ({"weight_drop": 0.5, "implementation": "cell_loop"}, "weight_drop=0.5 does not work with implementation"),
        ({"averaging": "nt_asgd"}, "averaging=nt_asgd does not work with optimizer=adam"),
        ({"length": 1_000}, "too few for one batch of length=1000"),
        ({"batch_size": 1_000, "stateful": True}, "too few for one batch"),
        ({"text_mode": "documents", "truncation": "remove", "max_length": 2}, "leaves no training text"),
        ({"text_mode": "documents", "batch_size": 1_000, "drop_remainder": True}, "leaves no batch"),
    ],
)
def test_a_combination_that_cannot_run_is_refused_with_the_fix(file, changes, message):
    with pytest.raises(AssertionError) as error:
        of_file(file, **changes)

    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"padding": "equal"}, "padding", "batch"),
        ({"max_length": 5}, "max_length", None),
        ({"text_mode": "documents", "length": 7}, "length", 35),
        ({"text_mode": "documents", "masking": False}, "masking", True),
        ({"implementation": "packed_loop"}, "implementation", "graph_loop"),
        ({"readout": "max_state"}, "readout", "last"),
        ({"encoding": "onehot"}, "tie_weights", False),
        ({"dropout_locked": True}, "dropout_locked", False),
        ({"averaging_interval": 7}, "averaging_interval", 5),
        ({"averaging": "nt_asgd", "optimizer": "sgd", "epochs": 7}, "averaging", "none"),
        ({"averaging": "nt_asgd", "optimizer": "sgd", "epochs": 8}, "averaging", "nt_asgd"),
        ({"averaging": "nt_asgd", "optimizer": "sgd", "epochs": 7, "averaging_interval": 9}, "averaging_interval", 5),
    ],
)
def test_a_toggle_without_effect_has_one_value(file, changes, key, value):
    settings, _ = of_file(file, **changes)

    assert getattr(settings, key) == value


@pytest.mark.training
def test_a_small_model_learns_a_cycle_of_letters(file, tmp_path):
    settings, data = of_file(
        file, length=8, units=16, embedding_dim=16, batch_size=8, epochs=25, learning_rate=0.02, dropout=0.1
    )
    folder = tmp_path / "trial"
    folder.mkdir()
    settings = edited(settings, {"tracking.histograms": False})

    *_, last = TASK.records(Trial(settings, data, folder, "t", True, "a", "i"))

    assert last.kind == LAST and last.detail["tags"]["ablation.health"] == "ok"
    assert last.metrics["test/perplexity"] < 4 < TASK.phase(settings, data).chance
    assert last.metrics["test/perplexity"] == pytest.approx(np.exp(last.metrics["test/loss"]), rel=1e-5)
    assert json.loads((folder / "vocabulary.json").read_text(encoding="utf-8")) == {
        "tokens": "word",
        "words": data.words(V),
    }
    examples = pd.read_parquet(folder / "test_examples.parquet")
    assert examples["cross_entropy_weight"].sum() == texts.word_counts(data)["test"]


def test_a_new_optimizer_step_changes_every_weight(file):
    settings, data = of_file(file, weight_drop=0.5, dropout_embedding=0.1, dropout=0.1, initial_state="learned")
    phase, model = TASK.phase(settings, data), language_model(settings)
    before = model.get_weights()
    update = updater(Learner(model, phase, TASK.metrics, settings), on_trace=lambda: None)

    for ids, targets, _ in phase.training(1):
        update(ids, targets, True)

    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(changed), [weight.path for weight, same in zip(model.weights, changed, strict=True) if not same]


def test_layers_are_registered_so_that_a_file_can_name_them():
    for layer in (WordLoss, TextLoop, DropWords, StatePenalty):
        assert keras.saving.get_registered_name(layer).startswith("ablation>")
