"""Combinations in which a toggle has no effect, and combinations that cannot run."""

from __future__ import annotations

from typing import Any

from src.parts.recurrent import toggles as recurrent
from src.parts.words import toggles as words
from src.spec.rules import Inert
from src.tasks.language_model.settings import Settings, is_stream, uses_text_loop

WHOLE = "only training on whole texts pads, truncates or buckets them; a stream is cut into pieces"
OF_DOCUMENTS = {
    "padding": "batch",
    "bucketing": True,
    "padding_side": "post",
    "masking": True,
    "max_length": None,
    "truncation": "pre",
}


def _needs_no_mask(settings: Settings) -> bool:
    return not is_stream(settings) and settings.padding_side == "post" and settings.implementation != "packed_loop"


def _has_nothing_to_pack(settings: Settings) -> bool:
    is_padded = not is_stream(settings) and not words.is_never_padded(settings) and settings.masking
    return settings.implementation == "packed_loop" and not is_padded


def _never_averages(settings: Settings) -> bool:
    """Returns whether training ends before validation can stall; other optimizers are refused anyway."""
    is_nt_asgd = settings.averaging == "nt_asgd" and settings.optimizer == "sgd"
    return is_nt_asgd and settings.epochs < settings.averaging_interval + 3


INERT: tuple[Inert[Any], ...] = (
    *(Inert(key, value, is_stream, WHOLE) for key, value in OF_DOCUMENTS.items()),
    *(rule for rule in words.INERT if rule.key != "masking"),
    Inert("implementation", "graph_loop", _has_nothing_to_pack, recurrent.UNPACKED),
    Inert("masking", True, _needs_no_mask, "padding comes after the words, and no step reads what follows it"),
    *recurrent.INERT,
    Inert("length", 35, lambda s: not is_stream(s), "text_mode=documents reads whole texts"),
    Inert("bptt_random", False, lambda s: not is_stream(s), "text_mode=documents reads whole texts"),
    Inert("readout", "last", lambda s: True, "a language model predicts a word at every step"),
    Inert("tie_weights", False, lambda s: s.encoding == "onehot", "encoding=onehot has no embedding to tie"),
    Inert("softmax_samples", 1_000, lambda s: s.softmax == "full", "softmax=full draws no words"),
    Inert("averaging", "none", _never_averages, "no epoch before averaging_interval + 3 has averages"),
    Inert("averaging_interval", 5, lambda s: s.averaging != "nt_asgd", "only averaging=nt_asgd reads it"),
    Inert("dropout_locked", False, lambda s: not s.dropout, "nothing is dropped"),
)


def refusals(settings: Settings) -> list[str]:
    """Returns the combinations of toggles that cannot run, each with its fix."""
    reasons = recurrent.refusals(settings)
    if settings.bidirectional:
        reasons.append(
            "bidirectional=true does not work with task=language_model: the backward layer would see the words "
            "that the model predicts; set bidirectional=false"
        )
    if settings.stateful and not is_stream(settings):
        reasons.append(
            "stateful=true does not work with text_mode=documents: each text begins with a state of its own; "
            "set text_mode=stream"
        )
    if uses_text_loop(settings) and settings.implementation not in recurrent.OWN_LOOPS:
        key = "stateful=true" if settings.stateful else f"weight_drop={settings.weight_drop}"
        reasons.append(
            f"{key} does not work with implementation={settings.implementation}; set implementation=graph_loop"
        )
    if settings.averaging == "nt_asgd" and settings.optimizer != "sgd":
        reasons.append(
            f"averaging={settings.averaging} does not work with optimizer={settings.optimizer}: it averages the steps "
            "of SGD; set optimizer=sgd with a learning_rate that suits it, or averaging=none"
        )
    if settings.uses_xla and (settings.stateful or settings.bptt_random):
        key, why = (
            ("stateful", "keeps a state between steps") if settings.stateful else ("bptt_random", "draws lengths")
        )
        reasons.append(f"{key}=true {why}, which XLA cannot compile once; set execution=graph")
    return reasons
