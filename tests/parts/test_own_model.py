"""A model and a cell of the user: what is accepted and refused, and what they compute."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from src import own_code
from src.config.settings import edited
from src.parts import own_model
from src.parts.own_model import Interface
from src.parts.recurrent import own_cell, sizes
from src.parts.recurrent.layers import model as layers_of
from src.spec.section import SettingsError
from src.tasks.integration.settings import Settings as Integration
from src.tasks.sentiment.settings import Settings
from src.training import model_file
from src.training.startup import fresh_session

IDS = Interface("ids", (None,), "int32", 2)
EXAMPLE = (Path(__file__).parents[1] / "own" / "my_module.py").read_text(encoding="utf-8")
BUILD = """
import keras
from keras import layers, ops

class Scaled(layers.Layer):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def call(self, x):
        return self.by(x)

class Whole(keras.Model):
    def call(self, x):
        return x

def build(settings, inputs, outputs):
    x = layers.GlobalAveragePooling1D()(layers.Embedding(settings.vocab_size, 4)(inputs))
    last = layers.Dense(outputs)
    return {}
"""
CELL = """
import keras

class Cell(keras.layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.units = units
        {size}

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def {call}(self, x, states):
        new = x @ self.kernel + states[0]
        return {result}
"""
STATE = "self.state_size = units"


def built(settings: Settings, interface: Interface) -> keras.Model:
    own_code.allow(settings.model)
    return own_model.built(settings, interface)


def refusal(place: str) -> str:
    own_code.allow(place)
    return own_cell.refusals(edited(Settings(), {"cell": place, "units": 3}), width=5)[0]


def test_the_function_gets_the_settings_the_input_and_the_number_of_outputs(own_module):
    own_module("mine", EXAMPLE)
    settings = edited(Settings(), {"model": "mine:build", "units": 3, "embedding_dim": 5, "vocab_size": 7})

    model = built(settings, IDS)

    assert model.input.name == "ids" and model(np.zeros((4, 6), "int32")).shape == (4, 2)
    assert model.count_params() == 7 * 5 + (3 * 5 + 1) * 3 + (3 + 1) * 2


def test_the_seed_of_the_trial_decides_the_initial_weights(own_module):
    own_module("mine", EXAMPLE)

    def weights(seed: int) -> list[np.ndarray]:
        fresh_session(seed)
        return built(edited(Settings(), {"model": "mine:build", "units": 3, "vocab_size": 7}), IDS).get_weights()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(np.array_equal(one, two) for one, two in zip(first, other, strict=True) if one.any())


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("None", "model=mine:build returned None, not a keras.Model; end it with `return keras.Model(inputs, …)`"),
        ("last", "returned an object of type Dense, not a keras.Model"),
        ("Whole()", "returned a model without inputs of its own, Whole; apply it to the input, as in"),
        ("keras.Sequential([last])", "returned a model without inputs of its own, Sequential"),
        ("keras.Model(inputs, layers.Dense(7)(x))", "returns float32[B, 7] instead of float32[B, 2]; end it with"),
        ("keras.Model(inputs, ops.cast(last(x), 'int32'))", "returns int32[B, 2] instead of float32[B, 2]"),
        ("keras.Model(inputs, last(x[:, None]))", "returns float32[B, 1, 2] instead of float32[B, 2]"),
        ("keras.Model(inputs, [last(x), last(x)])", "returns a list of 2 instead of float32[B, 2]"),
        ("keras.Model({'ids': inputs}, last(x))", "reads a dict of 1, but gets int32[B, any]; build it on the given"),
        ("keras.Model(i := keras.Input((9,)), last(i))", "reads float32[B, 9], but gets int32[B, any]"),
        ("keras.Model(inputs, layers.Softmax()(last(x)))", "ends with softmax, but the loss takes logits; leave out"),
        ("keras.Model(inputs, layers.Dense(2, activation='sigmoid')(x))", "ends with sigmoid, but the loss takes"),
        (
            "keras.Model(inputs, layers.GlobalMaxPooling1D()(layers.Embedding(9, 2, trainable=False)(inputs)))",
            "has no weights that are trained",
        ),
        ("settings.nothing", "raised AttributeError: 'Settings' object has no attribute 'nothing' (mine.py, line 20)"),
        ("layers.Dense(2)(ops.ones(2))", "raised ValueError: "),
    ],
)
def test_a_result_that_cannot_be_trained_is_refused_with_the_fix(own_module, result, message):
    own_module("mine", BUILD.replace("{}", result))

    with pytest.raises(SettingsError) as error:
        built(edited(Settings(), {"model": "mine:build", "vocab_size": 9}), IDS)
    assert message in str(error.value) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("build = 7", "model=mine:build is an object of type int; name a function build(settings, inputs, outputs)"),
        ("def build(settings): ...", "model=mine:build cannot be called (got an unexpected keyword argument 'inputs')"),
    ],
)
def test_what_is_no_such_function_is_refused(own_module, source, message):
    own_module("mine", source)

    with pytest.raises(SettingsError) as error:
        built(edited(Settings(), {"model": "mine:build"}), IDS)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("layers.Lambda(lambda y: 2 * y)", "model=mine:build contains a Lambda layer, whose code a model file cannot"),
        ("Scaled(lambda y: 2 * y)", "write get_config() for the layers of your own"),
    ],
)
def test_a_model_that_no_file_can_hold_is_refused_before_it_is_trained(own_module, layer, message):
    own_module("mine", BUILD.replace("{}", f"keras.Model(inputs, {layer}(last(x)))"))
    own_code.allow("mine:build")

    assert message in own_model.refusals(edited(Settings(), {"model": "mine:build", "vocab_size": 9}), IDS)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": 1_000}, "parameters=1000 does not work with model=mine:build, whose size only its function"),
        ({"averaging": "swa"}, "averaging=swa does not work with batch normalisation"),
    ],
)
def test_settings_that_do_not_work_with_a_model_of_the_user_are_refused(own_module, changes, message):
    own_module("mine", BUILD.replace("{}", "keras.Model(inputs, last(layers.BatchNormalization()(x)))"))
    own_code.allow("mine:build")
    settings = edited(Settings(), {"model": "mine:build", "vocab_size": 9})
    assert own_model.refusals(settings, IDS) == []

    assert message in own_model.refusals(edited(settings, changes), IDS)[0]


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "depth": 2}])
@pytest.mark.parametrize("is_masked", [True, False])
def test_the_users_cell_computes_what_its_equation_says(own_module, options, is_masked):
    own_module("mine", EXAMPLE)
    own_code.allow("mine:MyCell")
    settings = edited(Settings(), {"cell": "mine:MyCell", "units": 3, "readout": "max_state", **options})
    x = np.random.default_rng(0).normal(size=(2, 4, 5)).astype("float32")
    if is_masked:
        x[0, 2:] = 0
    mask, given = x.any(axis=-1), keras.Input((None, 5))
    of_layers = keras.ops.any(keras.ops.not_equal(given, 0), -1) if is_masked else None
    read = keras.layers.Masking()(given) if is_masked else given

    model = layers_of(settings, given, read, of_layers, outputs=1)
    logits = model(x)

    *weights, kernel, bias = model.get_weights()
    states, count = x, 2 if options else 1
    for layer in range(len(weights) // (3 * count)):
        own = weights[3 * count * layer :]
        forwards = _states(states, mask, own[:3])
        backwards = [_states(states[:, ::-1], mask[:, ::-1], own[3:6])[:, ::-1]] if options else []
        states = np.concatenate([forwards, *backwards], axis=-1)
    expected = np.where(mask[..., None], states, -np.inf).max(axis=1) @ kernel + bias
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def _states(x: np.ndarray, mask: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """Returns the state of `MyCell` after each step, as plain NumPy computes it."""
    kernel, recurrent, bias = weights
    units, state, states = len(recurrent), np.zeros((len(x), len(recurrent))), []
    for t in range(x.shape[1]):
        z = x[:, t] @ kernel + bias
        forget = 1 / (1 + np.exp(-(z[:, units:] + state @ recurrent)))
        new = forget * state + (1 - forget) * np.tanh(z[:, :units])
        state = np.where(mask[:, t, None], new, state)
        states.append(state)
    return np.stack(states, axis=1)


def test_the_number_of_parameters_of_the_users_cell_is_counted_and_chosen(own_module):
    own_module("mine", EXAMPLE)
    own_code.allow("mine:MyCell")
    settings = edited(Integration(), {"cell": "mine:MyCell", "units": 3, "bidirectional": True, "depth": 2})

    def formula(units: int) -> int:
        widths = (5, 2 * units)
        return sum(2 * (2 * units * width + units * units + 2 * units) for width in widths)

    assert sizes.parameters(settings, width=5) == formula(3)
    chosen = sizes.units_for(
        edited(settings, {"parameters": 1_000}),
        lambda units: sizes.parameters(edited(settings, {"units": units}), width=5),
    ).used
    assert chosen == min(range(1, 50), key=lambda units: abs(formula(units) - 1_000))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import keras\nCell = 7",
            "cell=mine:Cell is an object of type int; write a class MyCell(units) of keras.layers",
        ),
        ("class Cell: ...", "cell=mine:Cell is the class Cell; write a class MyCell(units) of keras.layers.Layer"),
        ("import keras\nclass Cell(keras.layers.Layer): ...", "cell=mine:Cell raised TypeError: "),
        (CELL.format(size="", call="call", result="new, [new]"), "cell=mine:Cell has no state_size; write a class"),
        (CELL.format(size=STATE, call="apply", result="new, [new]"), "cell=mine:Cell has no call; write a class"),
        (CELL.format(size=STATE, call="call", result="new[:, :1], [new]"), "returns float32[B, 1]; return the output"),
        (CELL.format(size=STATE, call="call", result="new, [x]"), "cell=mine:Cell raised "),
        (CELL.format(size=STATE, call="call", result="nothing, [new]"), "raised NameError: name 'nothing' is not def"),
    ],
)
def test_what_is_no_recurrent_cell_is_refused_with_the_fix(own_module, source, message):
    own_module("mine", source)

    assert message in refusal("mine:Cell") and len(refusal("mine:Cell").splitlines()) == 1


def test_a_model_file_with_layers_of_the_user_is_read_only_with_their_code(own_module, tmp_path):
    own_module("mine", EXAMPLE)
    own_code.allow("mine:MyCell")
    settings = edited(Settings(), {"cell": "mine:MyCell", "units": 3, "bidirectional": True})
    model = layers_of(settings, x := keras.Input((None, 5)), x, outputs=1)
    model_file.write(tmp_path, model)
    given = np.ones((2, 4, 5), "float32")
    with pytest.raises(ValueError, match=r"mine\.MyCell, which could run code"):  # a file without a trial
        model_file.load(tmp_path)

    own_module("mine", EXAMPLE)  # a new process
    copy = tmp_path / "own_code" / "mine" / "mine.py"
    copy.parent.mkdir(parents=True)
    copy.write_bytes((tmp_path / "code of the user" / "mine.py").read_bytes())

    with pytest.raises(SettingsError, match=r"mine\.MyCell, code of your own; add --code mine:MyCell"):
        model_file.load(tmp_path)
    own_code.allow("mine:MyCell")
    np.testing.assert_allclose(model_file.load(tmp_path)(given), model(given), atol=1e-6)
    assert model_file.has_own_code(tmp_path)

    own_module("mine", EXAMPLE.replace("zeros", "ones"))
    own_code.allow("mine:MyCell")
    with pytest.raises(SettingsError, match="mine:MyCell has changed since this trial was trained; a copy of its code"):
        model_file.load(tmp_path)
