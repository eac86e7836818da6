"""Texts that a model writes after each epoch: an illustration of what it has learnt by then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from src.data.tokens import START
from src.spec.task import Trial
from src.tasks.language_model.generating import Options, Prompt, generate
from src.tasks.language_model.settings import Settings
from src.tasks.language_model.stepping import Stepper
from src.tasks.language_model.trained import Trained
from src.tasks.language_model.vocabulary import Vocabulary

if TYPE_CHECKING:
    import keras

    from src.data.encoded import Encoded

STRATEGIES: Mapping[str, Mapping[str, float]] = {"greedy": {}, "sample": {"samples": 2}}  # strategy → its options
LENGTH = {"words": 30, "characters": 150}  # unit of the vocabulary → largest number of them in a text


def of_model(trial: Trial[Settings, Encoded], model: keras.Model) -> Iterator[dict[str, Any]]:
    """Yields the texts that `generate` writes with the model's current weights, from the start of a text on.

    The draws are the same each time, so that the texts of two epochs differ only by the weights.

    Yields:
      For each text: its `strategy`, the `text`, followed by "…" if it has no end, and its log-probability per word (or
      character).
    """
    settings, data = trial.settings, trial.data
    vocabulary = Vocabulary(data.words(settings.vocab_size), data.contents.tokens)
    trained, stepper = Trained(trial.folder, settings, vocabulary), Stepper(model)
    for strategy, given in STRATEGIES.items():
        options = Options(strategy, "", LENGTH[vocabulary.unit], allow_unknown=False, given=given)
        for text in generate(options, Prompt([START], []), trained, stepper):
            yield {
                "strategy": strategy,
                "text": vocabulary.text(text.words) + ("" if text.has_ended else " …"),
                f"log-probability per {vocabulary.unit.removesuffix('s')}": text.per_word,
            }
