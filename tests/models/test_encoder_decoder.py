"""Encoder and decoder are those of the papers, and the questions about attention have the answers that they give."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.data import tokens
from src.models.attention import SCORES
from src.models.decoding import walk
from src.models.encoder_decoder import END, FIRST_WRITTEN, PADDING, START, UNKNOWN, Design, encoder_decoder
from src.models.translator import Translator
from src.models.word_loss import word_losses

V = 20
SOURCE = np.array([[5, 6, 7, 3, 0], [8, 3, 0, 0, 0], [9, 9, 9, 9, 3]], np.int32)
LABELS = np.array([[11, 12, 13, 3], [14, 15, 3, 0], [16, 3, 0, 0]], np.int32)
TARGET = np.array([[1, 11, 12, 13], [1, 14, 15, 0], [1, 16, 0, 0]], np.int32)
BATCH = {"source": SOURCE, "target": TARGET, "labels": LABELS}
ALL = ("none", *SCORES)
FED = [*((attention, True) for attention in ALL), ("additive", False), ("general", False)]  # input feeding or not


def model(**changes):
    """Returns a small model with weights that are far from zero."""
    longest_source = 9 if changes.get("attention") == "location" else None
    design = {"embedding_dim": 6, "units": 8, "longest_source": longest_source} | changes
    made = encoder_decoder(Design(V, V, **design))
    rng = np.random.default_rng(0)
    made.set_weights([rng.normal(0, 0.5, weight.shape) for weight in made.get_weights()])
    return made


def parts(made):
    return made.get_layer("encoder"), made.get_layer("decoder")


def begun(made, source=SOURCE):
    """Returns the decoder's memory and its start."""
    encoder, decoder = parts(made)
    annotations, states = encoder(source)
    return decoder.memory(source, annotations), decoder.start(annotations, states)


def results(made, batch, *, training=False):
    """Returns the mean loss per counted word, and its gradients."""
    batch = {name: tf.constant(ids) for name, ids in batch.items()}
    with tf.GradientTape() as tape:
        outputs = made(batch, training=training)
        loss = tf.reduce_sum(outputs["losses"]) / tf.reduce_sum(outputs["counted"])
    gradients = tape.gradient(loss, made.trainable_variables, unconnected_gradients="zero")
    return float(loss), [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


def padded(batch, source=0, target=0):
    more = {"source": source, "target": target, "labels": target}
    return {name: np.pad(ids, [(0, 0), (0, more[name])]) for name, ids in batch.items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain_step(cell, x, states):
    """Returns the new states of a cell for one input, in NumPy."""
    kernel, recurrent, bias = (np.float64(weight) for weight in (cell.kernel, cell.recurrent_kernel, cell.bias))
    h, name = states[0], type(cell).__name__
    if name == "SimpleRNNCell":
        return [np.tanh(x @ kernel + bias + h @ recurrent)]
    if name == "LSTMCell":
        i, f, g, o = np.split(x @ kernel + bias + h @ recurrent, 4)
        memory = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(memory), memory]
    update, reset, new = np.split(x @ kernel + bias[0], 3)
    inner_update, inner_reset, inner_new = np.split(h @ recurrent + bias[1], 3)
    update, reset = sigmoid(update + inner_update), sigmoid(reset + inner_reset)
    return [update * h + (1 - update) * np.tanh(new + reset * inner_new)]


def plain_encoder(encoder, ids):
    """Returns the annotations of one sentence without padding, and the last states of each layer."""
    x, last = np.float64(encoder.embedding.embeddings)[ids], []
    for cells in encoder.cells:
        outputs, ends = [], []
        for cell, order in zip(cells, (1, -1), strict=False):
            states, of_direction = [np.zeros(cell.units)] * cell.facts.states, []
            for value in x[::order]:
                states = plain_step(cell, value, states)
                of_direction.append(states[0])
            outputs.append(np.array(of_direction)[::order])
            ends.append(states)
        x = np.concatenate(outputs, axis=1)
        last.append([np.concatenate(of_state) for of_state in zip(*ends, strict=True)])
    return x, last


def plain_losses(made, source, target, labels):
    """Returns -log p(label) of one sentence, step by step as the equations say."""
    encoder, decoder = parts(made)
    design = decoder.design
    values, last = plain_encoder(encoder, source)
    if design.initial_state == "zero":
        states = [[np.zeros(design.units)] * decoder.cells[0].facts.states for _ in decoder.cells]
    elif design.initial_state == "last":
        states = last
    else:
        made_states = [
            np.tanh(last[-1][place % len(last[-1])] @ np.float64(bridge.kernel) + np.float64(bridge.bias))
            for place, bridge in enumerate(decoder.bridges)
        ]
        states = [list(part) for part in np.split(np.array(made_states), design.depth)]
    attentional, losses = np.zeros(decoder.width), []
    for word, label in zip(target, labels, strict=True):
        before = states[-1][0]
        x = np.float64(decoder.embedding.embeddings)[word]
        context = plain_context(decoder.attention, before, values) if design.attention == "additive" else None
        first = decoder.cells[0]
        if design.input_feeding:  # [x; f] with the matrix [kernel; feed] is one product
            fed = context if design.attention == "additive" else attentional
            kernel = np.concatenate([np.float64(first.kernel), np.float64(decoder.feed.kernel)])
            x = np.concatenate([x, fed])
            first = type("Wide", (), {"kernel": kernel, "recurrent_kernel": first.recurrent_kernel, "bias": first.bias})
            first = type(type(decoder.cells[0]).__name__, (), dict(vars(first)))()
        for layer, cell in enumerate([first, *decoder.cells[1:]]):
            states = [*states[:layer], plain_step(cell, x, states[layer]), *states[layer + 1 :]]
            x = states[layer][0]
        if design.attention not in ("additive", "none"):
            context = plain_context(decoder.attention, x, values)
        read = x if context is None else np.concatenate([context, x])
        attentional = np.tanh(read @ np.float64(decoder.attentional.kernel) + np.float64(decoder.attentional.bias))
        table = decoder.embedding.embeddings if design.tie_weights else decoder.output_layer.matrix
        logits = np.float64(table) @ attentional + np.float64(decoder.output_layer.bias)
        logits[: FIRST_WRITTEN if design.mask_loss else 0] = -np.inf
        losses.append(np.log(np.exp(logits).sum()) - logits[label])
    return losses


def plain_context(attention, query, values):
    """Returns the context of one query, from the equations of the scores."""
    weights = {weight.name: np.float64(weight) for weight in attention.weights}
    if attention.score == "dot":
        fits = values @ query
    elif attention.score == "general":
        fits = values @ weights["matrix"] @ query
    elif attention.score == "location":
        fits = (query @ weights["matrix"])[: len(values)]
    elif attention.score == "concat":
        fits = [np.tanh(np.concatenate([query, value]) @ weights["matrix"]) @ weights["vector"] for value in values]
    else:
        fits = np.tanh(query @ weights["query_matrix"] + values @ weights["value_matrix"]) @ weights["vector"]
    shares = np.exp(fits) / np.exp(fits).sum()
    return shares @ values


DESIGNS = [
    *({"attention": score} for score in ALL),
    *({"attention": score, "input_feeding": False} for score in ("additive", "general")),
    {"cell": "lstm", "depth": 2, "initial_state": "bridge"},
    {"cell": "simple_rnn", "depth": 2, "initial_state": "last"},
    {"cell": "lstm", "attention": "none", "initial_state": "last", "input_feeding": False, "depth": 2},
    {"bidirectional": False, "initial_state": "zero", "tie_weights": True, "attention": "dot"},
    {"mask_loss": False, "tie_weights": True},
    {"loop": "fused_loop", "input_feeding": False, "cell": "lstm", "depth": 2},
]  # fmt: skip


@pytest.mark.parametrize("changes", DESIGNS, ids=str)
def test_losses_are_those_of_the_equations(changes):
    made = model(**changes)

    losses = made(BATCH)["losses"].numpy()

    for row in range(len(SOURCE)):
        words = LABELS[row][LABELS[row] > 0]
        expected = plain_losses(made, SOURCE[row][SOURCE[row] > 0], TARGET[row][: len(words)], words)
        np.testing.assert_allclose(losses[row], [*expected, *[0] * (4 - len(words))], atol=1e-4)


@pytest.mark.parametrize(("attention", "feeds"), FED)
def test_padding_changes_neither_loss_nor_gradient(attention, feeds):
    made = model(attention=attention, input_feeding=feeds, initial_state="last")

    loss, gradients = results(made, BATCH, training=True)
    same, same_gradients = results(made, padded(BATCH, source=3, target=2), training=True)

    assert same == pytest.approx(loss, abs=1e-5)
    for one, other in zip(gradients, same_gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_batch_has_the_gradient_of_its_sentences():
    made = model(cell="lstm")

    _, together = results(made, BATCH)

    sizes = (LABELS > 0).sum(axis=1)
    alone = [results(made, {name: ids[row : row + 1] for name, ids in BATCH.items()})[1] for row in range(3)]
    for place, gradient in enumerate(together):
        mean = sum(size * of_row[place] for size, of_row in zip(sizes, alone, strict=True)) / sizes.sum()
        np.testing.assert_allclose(gradient, mean, atol=1e-5)


def test_without_the_mask_of_attention_padding_gets_weight_and_changes_the_result():
    masked, unmasked = model(), model(mask_attention=False)
    is_padding = SOURCE == 0

    weights = {name: made(BATCH)["attention"].numpy() for name, made in {"on": masked, "off": unmasked}.items()}

    assert (weights["on"].transpose(0, 2, 1)[is_padding] == 0).all()
    assert (weights["off"].transpose(0, 2, 1)[is_padding] > 0.01).all()
    more = padded(BATCH, source=3)
    np.testing.assert_allclose(masked(BATCH)["losses"], masked(more)["losses"], atol=1e-5)
    assert not np.allclose(unmasked(BATCH)["losses"], unmasked(more)["losses"], atol=1e-3)


def test_without_the_mask_of_the_loss_padding_is_learned_as_a_word():
    masked, unmasked = model(), model(mask_loss=False)

    trained = [made(BATCH, training=True) for made in (masked, unmasked)]

    np.testing.assert_array_equal(trained[0]["counted"], LABELS > 0)
    np.testing.assert_array_equal(trained[1]["counted"], np.ones_like(LABELS))
    assert (trained[0]["losses"].numpy()[LABELS == 0] == 0).all()
    assert (trained[1]["losses"].numpy()[LABELS == 0] > 0).all()
    np.testing.assert_array_equal(unmasked(BATCH)["counted"], LABELS > 0)  # judged by real words, as all models
    _, gradients = results(unmasked, BATCH, training=True)
    _, others = results(unmasked, padded(BATCH, target=2), training=True)
    assert not all(np.allclose(one, other, atol=1e-4) for one, other in zip(gradients, others, strict=True))


def test_the_encoder_output_stays_the_same_while_the_context_changes_from_step_to_step():
    made = model(attention="general")
    (memory, start), (_, decoder) = begun(made), parts(made)
    annotations = memory.values.numpy().copy()

    first, weights = decoder.step(decoder.projected(TARGET[:, 0]), start, memory)
    contexts = [np.einsum("bs,bse->be", weights, memory.values)]
    _, weights = decoder.step(decoder.projected(TARGET[:, 1]), first, memory)
    contexts.append(np.einsum("bs,bse->be", weights, memory.values))

    np.testing.assert_array_equal(memory.values, annotations)
    assert (np.abs(contexts[0] - contexts[1]).max(axis=1) > 1e-3).any()


@pytest.mark.parametrize("attention", ALL)
def test_with_input_feeding_a_step_depends_on_what_was_attended_to_before_and_without_it_does_not(attention):
    for feeds in (True, False):
        made = model(attention=attention, input_feeding=feeds)
        (memory, start), (_, decoder) = begun(made), parts(made)
        first, _ = decoder.step(decoder.projected(TARGET[:, 0]), start, memory)
        word = decoder.projected(TARGET[:, 1])
        if attention == "additive":  # the cell reads the context of its own step: other values, another context
            changed = [
                decoder.step(word, first, other)[0] for other in (memory, memory._replace(values=memory.values + 1))
            ]
        else:
            changed = [
                decoder.step(word, other, memory)[0]
                for other in (first, first._replace(attentional=first.attentional + 1))
            ]

        assert np.allclose(changed[0].states[0][0], changed[1].states[0][0]) == (not feeds)


@pytest.mark.parametrize("attention", ALL)
def test_without_input_feeding_all_steps_at_once_give_what_one_step_after_another_gives(attention):
    made = model(attention=attention, input_feeding=False, depth=2)
    _, decoder = parts(made)
    found = []
    for read in (decoder._read_at_once, decoder._read_in_steps):
        options = {"reads_own": False} if read == decoder._read_in_steps else {}
        with tf.GradientTape() as tape:
            memory, start = begun(made)
            states, weights = read(TARGET, start, memory, False, **options)
            total = tf.reduce_sum(tf.sin(states))
        gradients = [each for each in tape.gradient(total, made.trainable_variables) if each is not None]
        found.append([states, *([] if weights is None else [weights]), *map(tf.convert_to_tensor, gradients)])

    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(("attention", "feeds"), FED)
def test_the_state_reaches_later_steps_and_no_word_reaches_earlier_ones(attention, feeds):
    made = model(attention=attention, input_feeding=feeds)
    other = TARGET.copy()
    other[:, 1] = 17

    first, second = (made({**BATCH, "target": target})["losses"].numpy() for target in (TARGET, other))

    np.testing.assert_array_equal(first[:, 0], second[:, 0])
    assert abs(first[0, 3] - second[0, 3]) > 1e-4  # the word of step 1 changes the output of step 3


def test_the_initial_state_is_zero_the_encoders_last_or_a_layer_on_it():
    for cell, depth in (("lstm", 2), ("gru", 1)):
        made = {state: model(initial_state=state, cell=cell, depth=depth) for state in ("zero", "last", "bridge")}
        starts = {state: begun(each)[1].states for state, each in made.items()}
        encoder, decoder = parts(made["bridge"])
        for row in range(3):
            _, last = plain_encoder(parts(made["last"])[0], SOURCE[row][SOURCE[row] > 0])
            for layer, number in itertools.product(range(depth), range(len(last[0]))):
                np.testing.assert_array_equal(starts["zero"][layer][number][row], np.zeros(8))
                np.testing.assert_allclose(starts["last"][layer][number][row], last[layer][number], atol=1e-5)
                bridge = decoder.bridges[layer * len(last[0]) + number]
                top = plain_encoder(encoder, SOURCE[row][SOURCE[row] > 0])[1][-1][number]
                expected = np.tanh(top @ bridge.kernel.numpy() + bridge.bias.numpy())
                np.testing.assert_allclose(starts["bridge"][layer][number][row], expected, atol=1e-5)


def test_without_attention_and_without_initial_state_the_source_is_unknown():
    made = model(attention="none", initial_state="zero")

    losses = [made({**BATCH, "source": source})["losses"] for source in (SOURCE, SOURCE[::-1].copy())]

    np.testing.assert_array_equal(*losses)
    assert "attention" not in made(BATCH)


def test_training_without_teacher_forcing_reads_the_models_own_words():
    made = model(teacher_forcing=0.0, attention="general", depth=2)
    memory, start = begun(made)
    own = walk(parts(made)[1].stepper(memory), start, START, -1, longest=4).ids.numpy()  # it goes on after an end
    read = np.concatenate([np.full((3, 1), START, np.int32), own[:, :-1]], axis=1)

    trained, tested = made(BATCH, training=True), made(BATCH)

    np.testing.assert_allclose(trained["losses"], made({**BATCH, "target": read})["losses"], atol=1e-5)
    assert not np.allclose(trained["losses"], tested["losses"], atol=1e-3)  # judged with the right words


def test_with_teacher_forcing_training_reads_the_right_words():
    for feeds in (True, False):
        made = model(input_feeding=feeds)
        np.testing.assert_allclose(made(BATCH, training=True)["losses"], made(BATCH)["losses"], atol=1e-6)


def test_teacher_forcing_draws_one_decision_per_step_for_the_whole_batch():
    made = model(teacher_forcing=0.5)
    forced, free = (model(teacher_forcing=share)(BATCH, training=True)["losses"].numpy() for share in (1.0, 0.0))
    twin = model(teacher_forcing=0.5)

    draws = np.array([made(BATCH, training=True)["losses"].numpy() for _ in range(16)])

    np.testing.assert_array_equal(draws[:2], [twin(BATCH, training=True)["losses"].numpy() for _ in range(2)])
    np.testing.assert_allclose(draws[:, :, 0], np.broadcast_to(forced[:, 0], (16, 3)), atol=1e-5)
    is_forced, is_free = (np.isclose(draws[:, :2, 1], losses[:2, 1], atol=1e-5) for losses in (forced, free))
    assert (is_forced.all(axis=1) ^ is_free.all(axis=1)).all()  # the whole batch, one or the other
    assert 2 < is_forced.all(axis=1).sum() < 14


def test_dropout_acts_in_training_only_and_follows_the_seed():
    for changes in ({}, {"input_feeding": False}):
        made, twin, other = (model(dropout=0.4, depth=2, seed=seed, **changes) for seed in (0, 0, 1))
        plain = model(depth=2, **changes)
        np.testing.assert_allclose(made(BATCH)["losses"], plain(BATCH)["losses"], atol=1e-6)
        trained = [each(BATCH, training=True)["losses"].numpy() for each in (made, twin, other)]
        np.testing.assert_array_equal(trained[0], trained[1])
        assert not np.allclose(trained[0], trained[2], atol=1e-3)
        assert not np.allclose(trained[0], made(BATCH)["losses"], atol=1e-3)


def test_tied_weights_are_those_of_the_embedding():
    tied, free = model(tie_weights=True), model()

    assert parts(tied)[1].output_layer.matrix is None
    assert tied.count_params() < free.count_params() - V * 6
    _, gradients = results(tied, BATCH)
    of_embedding = dict(zip((weight.path for weight in tied.trainable_variables), gradients, strict=True))
    table = next(gradient for path, gradient in of_embedding.items() if path.startswith("decoder/embedding"))
    assert (np.abs(table[FIRST_WRITTEN:]).max(axis=1) > 0).all()  # of all words, not only of those that were read


@pytest.mark.parametrize("first", [0, 2])
def test_label_smoothing_spreads_the_target_over_all_words(first):
    rng = np.random.default_rng(0)
    states, table, bias = rng.normal(size=(300, 5)), rng.normal(size=(V, 5)), rng.normal(size=V)
    words, share = rng.integers(first, V, 300).astype(np.int32), 0.2
    inputs = [tf.constant(part, tf.float32) for part in (states, table, bias)]

    def smoothed(states, table, bias):
        logits = (tf.matmul(states, table, transpose_b=True) + bias)[:, first:]
        wanted = (1 - share) * tf.one_hot(words - first, V - first) + share / (V - first)
        return tf.nn.softmax_cross_entropy_with_logits(wanted, logits)

    def ours(states, table, bias):
        never = tf.where(tf.range(V) < first, -1e9, 0.0)
        return word_losses(states, words, table, bias + never, first=first, label_smoothing=share)

    found = []
    for function in (ours, smoothed):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            losses = function(*inputs)
            total = tf.reduce_sum(losses * tf.cast(words, tf.float32))
        found.append([losses, *tape.gradient(total, inputs)])

    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def test_label_smoothing_acts_in_training_only():
    made, plain = model(label_smoothing=0.2), model()

    np.testing.assert_allclose(made(BATCH)["losses"], plain(BATCH)["losses"], atol=1e-6)
    assert not np.allclose(made(BATCH, training=True)["losses"], plain(BATCH)["losses"], atol=1e-3)


def test_a_model_translates_in_evaluation_and_not_in_training():
    made = model(longest=5)

    translation, nothing = (made(BATCH, training=training)["translation"].numpy() for training in (False, True))

    assert translation.shape == nothing.shape == (3, 5)
    assert (translation[:, 0] >= FIRST_WRITTEN).all() and not nothing.any()
    drawn = model(longest=5, decode="sample")
    assert not np.array_equal(translation, drawn(BATCH)["translation"])
    np.testing.assert_array_equal(drawn(BATCH)["translation"], drawn(BATCH)["translation"])


def test_a_stored_model_gives_the_same_outputs(tmp_path):
    for number, changes in enumerate(({"longest": 4, "tie_weights": True}, {"attention": "location", "cell": "lstm"})):
        made = model(**changes)
        made.save(tmp_path / f"{number}.keras")

        loaded = keras.models.load_model(tmp_path / f"{number}.keras", compile=False, safe_mode=True)

        for name, values in made(BATCH).items():
            np.testing.assert_array_equal(values, loaded(BATCH)[name])


def test_a_graph_and_a_compiled_graph_give_the_same_gradients():
    made = model(cell="simple_rnn", bidirectional=False, attention="dot")
    outputs = []

    def gradients(batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(made(batch, training=True)["losses"])
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, made.trainable_variables)]

    for options in ({}, {"jit_compile": True}):
        signature = [{name: tf.TensorSpec([3, None], tf.int32) for name in BATCH}]
        graph = tf.function(
            lambda batch: tf.gradients(
                tf.reduce_sum(made(batch, training=True)["losses"]), [w.value for w in made.trainable_variables]
            ),
            autograph=False,
            input_signature=signature,
            **options,
        )
        outputs.append([np.asarray(tf.convert_to_tensor(gradient)) for gradient in graph(BATCH)])

    for one, other in zip(*outputs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_initial_weights_follow_the_seed_and_are_equal_in_designs_that_share_a_layer():
    base = {"units": 8, "embedding_dim": 6}
    first, same, other = (encoder_decoder(Design(V, V, **base, seed=seed)).get_weights() for seed in (1, 1, 2))
    for one, twin, another in zip(first, same, other, strict=True):
        np.testing.assert_array_equal(one, twin)
        assert not one.any() or not np.array_equal(one, another)  # biases start at zero

    dot, concat = (
        {weight.path: weight.numpy() for weight in encoder_decoder(Design(V, V, **base, attention=score)).weights}
        for score in ("dot", "concat")
    )
    assert set(concat) - set(dot) == {"decoder/attention/matrix", "decoder/attention/vector"}
    for path, value in dot.items():
        np.testing.assert_array_equal(value, concat[path])


def test_impossible_designs_are_refused():
    with pytest.raises(ValueError, match="each direction of the encoder has half of the units; 7 is odd"):
        Design(V, V, units=7)
    with pytest.raises(ValueError, match="initial_state is 'first'; allowed: zero, last, bridge"):
        Design(V, V, initial_state="first")
    with pytest.raises(ValueError, match="score is 'luong'; allowed: dot, general, concat, additive, location"):
        encoder_decoder(Design(V, V, attention="luong"))


def reversed_words(count, rng, *, length=6):
    """Returns sentences of different lengths, and the same words in reverse order."""
    batch = {name: np.zeros((count, length + 1), np.int32) for name in ("source", "target", "labels")}
    for row, size in enumerate(rng.integers(3, length + 1, count)):
        words = rng.integers(4, 12, size)
        batch["source"][row, : size + 1] = [*words, END]
        batch["labels"][row, : size + 1] = [*words[::-1], END]
        batch["target"][row, : size + 1] = [START, *words[::-1]]
    return batch


def learned(attention):
    """Returns the share of right translations of new sentences after training, the sentences, and the attention."""
    design = Design(12, 12, embedding_dim=16, units=32, attention=attention, initial_state="last", seed=1)
    made, rng = encoder_decoder(design), np.random.default_rng(0)
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(made.trainable_variables)
    signature = [{name: tf.TensorSpec([64, None], tf.int32) for name in BATCH}]

    @tf.function(input_signature=signature, autograph=False)
    def step(batch):
        with tf.GradientTape() as tape:
            outputs = made(batch, training=True)
            loss = tf.reduce_sum(outputs["losses"]) / tf.reduce_sum(outputs["counted"])
        optimizer.apply(tape.gradient(loss, made.trainable_variables), made.trainable_variables)

    for _ in range(100):
        step(reversed_words(64, rng))
    test = reversed_words(200, rng)
    found = Translator(made).greedy(test["source"], longest=7)
    return (found.ids == test["labels"]).all(axis=1).mean(), test, found.weights


@pytest.mark.training
def test_with_attention_reversed_words_are_learned_and_looked_up_in_reverse_order():
    exact, test, weights = learned("general")

    sizes = (test["source"] > 0).sum(axis=1) - 1
    right = [weights[row, step, size - 1 - step] for row, size in enumerate(sizes) for step in range(size)]
    assert exact > 0.8 and np.mean(right) > 0.8
    assert learned("none")[0] < 0.5


def test_ids_mean_what_they_mean_in_the_data():
    assert (PADDING, START, UNKNOWN, END) == (tokens.PADDING, tokens.START, tokens.UNKNOWN, tokens.END)
