"""The toggles of tasks with recurrent layers, when they have no effect, and which combinations cannot run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from src.models.cell_facts import FACTS
from src.spec.rules import Change, Inert
from src.spec.section import Count, Place, Value, Width, as_typed
from src.spec.settings import Settings

OF_LAYERS = (  # toggles of the recurrent layers other than their sizes
    *("cell", "bidirectional", "readout", "initial_state", "implementation", "forget_bias"),
    *("kernel_initializer", "recurrent_initializer", "bptt_steps"),
)
OWN_LOOPS = ("graph_loop", "packed_loop", "eager_loop", "fused_loop")
WITHOUT = {  # implementation → executions that it does not work with, and why
    "eager_loop": (("xla", "graph_epoch"), "compiles nothing"),
    "packed_loop": (("xla",), "shrinks its batch over time, while XLA needs one shape"),
}


class Recurrent(Settings):
    """Settings that include the toggles of recurrent layers."""

    ADDED: ClassVar[Mapping[str, Value]] = {
        "kernel_initializer": "glorot_uniform",
        "recurrent_initializer": "orthogonal",
    }

    ALIASES: ClassVar[Mapping[str, str]] = {
        "hidden": "units",
        "hiddensize": "units",
        "hiddendim": "units",
        "hiddenunits": "units",
        "numunits": "units",
        "nlayers": "depth",
        "numlayers": "depth",
        "layers": "depth",
        "rnn": "cell",
        "rnntype": "cell",
        "celltype": "cell",
        "dropoutrate": "dropout",
        "tbptt": "bptt_steps",
    }

    cell: Literal["simple_rnn", "gru", "lstm"] | Place = Field(
        "lstm", description="recurrent cell; module:NAME = a Keras cell of yours, MyCell(units)"
    )
    depth: int = Field(1, ge=1, le=64, description="number of recurrent layers")
    bidirectional: bool = Field(False, description="read the sequence in both directions")
    units: Width = Field(64, description="size of the hidden state, H")
    parameters: int | None = Field(
        None,
        ge=1,
        le=10**12,
        description="choose units so that the model has about this many parameters; null = use units",
    )
    readout: Literal["last", "mean_state", "mean_logit", "sum_logit", "mean_probability", "max_state"] = Field(
        "last",
        description="states or logits that make the prediction; means leave out padded steps only if masking=true",
    )
    initial_state: Literal["zeros", "learned"] = Field("zeros", description="state before the first step")
    implementation: Literal["keras", "cell_loop", "graph_loop", "packed_loop", "eager_loop", "fused_loop"] = Field(
        "keras",
        description="loop over time: Keras' layer, Keras' RNN with the project's cell, or a loop of the project; "
        "fused_loop is the fastest",
    )
    forget_bias: float | None = Field(
        None, ge=-100, le=100, description="initial bias of the LSTM's forget gate; null = 1"
    )
    kernel_initializer: Literal["glorot_uniform", "he_normal", "orthogonal", "random_normal", "random_uniform"] = Field(
        "glorot_uniform", description="initial input weights of the recurrent layers (random_*: scale 0.05)"
    )
    recurrent_initializer: Literal["orthogonal", "glorot_uniform", "identity", "random_normal", "random_uniform"] = (
        Field("orthogonal", description="initial recurrent weights")
    )
    bptt_steps: Count | None = Field(
        None,
        description="truncated back-propagation through time: gradients reach only the last n steps; null = all steps",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate of the inputs of every recurrent layer")


DRAWN = {"kernel_initializer": "glorot_uniform", "recurrent_initializer": "orthogonal"}


def has_own_cell(settings: Recurrent) -> bool:
    """Returns whether the cell is code of the user."""
    return settings.cell not in FACTS


INERT: tuple[Inert[Any], ...] = (
    Inert("forget_bias", None, lambda s: s.cell != "lstm", "only an LSTM has a forget gate"),
    Inert("forget_bias", None, lambda s: s.cell == "lstm" and s.forget_bias == 1, "1 is the default"),
    *(Inert(key, value, has_own_cell, "cell=module:NAME draws its own weights") for key, value in DRAWN.items()),
    Inert(
        "implementation",
        "keras",
        lambda s: has_own_cell(s) and s.implementation == "cell_loop",
        "both run cell=module:NAME in Keras' loop",
    ),
    Inert(
        "execution",
        "graph",
        lambda s: s.implementation == "eager_loop" and s.execution == "eager",
        "eager_loop always runs in Python",
    ),
    Inert("retracing", "signature", lambda s: s.implementation == "eager_loop", "eager_loop traces nothing"),
)
UNPACKED = "packed_loop skips masked steps, and none are masked"
LINEAR_HEAD = Inert[Any](
    "readout",
    "mean_state",
    lambda s: s.readout == "mean_logit",
    "the head is linear, so both readouts give the same logit",
)


def bptt_of(settings: Recurrent, longest: int) -> list[Change]:
    """Returns `bptt_steps=null` if no sequence is longer than `bptt_steps`; no change otherwise."""
    if settings.bptt_steps is None or settings.bptt_steps < longest:
        return []
    return [Change("bptt_steps", settings.bptt_steps, None, "no sequence is longer, so no gradient is truncated")]


def refusals(settings: Recurrent) -> list[str]:
    """Returns why these layers cannot run, each with its fix; empty if they can."""
    if has_own_cell(settings):
        needed = {"implementation": "keras", "bptt_steps": None, "initial_state": "zeros"}
        why = f"does not work with cell={settings.cell}, which runs in Keras' loop, from zeros"
        return [
            f"{key}={getattr(settings, key)} {why}; set {key}={as_typed(value)}"
            for key, value in needed.items()
            if getattr(settings, key) != value
        ]
    reasons = []
    if settings.bptt_steps and settings.implementation not in OWN_LOOPS:
        reasons.append(
            f"bptt_steps does not work with implementation={settings.implementation}; set implementation=graph_loop"
        )
    executions, why = WITHOUT.get(settings.implementation, ((), ""))
    if settings.execution in executions:
        conflict = f"execution={settings.execution} does not work with implementation={settings.implementation}"
        reasons.append(f"{conflict}, which {why}; set implementation=graph_loop")
    return reasons
