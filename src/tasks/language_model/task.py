"""The task `language_model`."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

from src.parts.description import described
from src.parts.recurrent import toggles as recurrent
from src.parts.recurrent.sizes import parameters as of_layers
from src.parts.words import pretrained
from src.parts.words import toggles as words
from src.spec.metric import LOSS, Metric
from src.spec.rules import Change
from src.spec.section import SettingsError
from src.spec.task import Command, Trial
from src.tasks.language_model import baselines, sizes, toggles
from src.tasks.language_model.settings import Settings, is_masked, is_stream
from src.training.task import KerasTask, Trained

if TYPE_CHECKING:
    import keras
    import numpy as np

    from src.data.encoded import Encoded
    from src.training.diagnosis import Evidence
    from src.training.phase import Averaging, Learner, Phase

PERPLEXITY = Metric(
    "perplexity", "lower", digits=1, margin=1.0, target=200.0, of="cross_entropy", finish="exp", least=1.0
)


@final
class LanguageModel(KerasTask[Settings, "Encoded"]):
    """The probability of each word of a text, given the words before it."""

    name = "language_model"
    about = "the probability of each word of a text"
    examples: ClassVar = {
        "task=language_model data.limit=2000 epochs=1": "a quick language model of film reviews",
        "-m task=language_model text_mode=stream,documents": "pieces of a stream, or whole texts?",
        "task=language_model data=text data.path=FILE": "your own text file",
    }
    settings = Settings
    metrics = (PERPLEXITY, LOSS, *baselines.METRICS)
    inert = toggles.INERT
    commands: ClassVar = {
        "generate": Command(
            "src.tasks.language_model.commands:generate",
            "writes texts: the likeliest words, random ones, or a beam search",
            files=("vocabulary.json", "model.keras"),
            example='--prompt "this film"',
        ),
        "score": Command(
            "src.tasks.language_model.commands:score",
            "gives the log-probability and the perplexity of the texts of a file",
            files=("vocabulary.json", "model.keras"),
            example="FILE",
        ),
    }
    figures: ClassVar = {
        "loss_by_frequency": "src.tasks.language_model.figures:frequency",
        "loss_by_position": "src.tasks.language_model.figures:position",
    }

    def load(self, settings: Settings) -> Encoded:
        """Returns the encoded corpus."""
        if settings.data.name in ("aclimdb", "table", "text") and not settings.data.path:
            raise SettingsError(f"data={settings.data.name} needs a path; add data.path=FILE_OR_FOLDER")
        from src.data import encoded

        return encoded.load(settings.data, tokens=settings.tokens)

    def source(self, settings: Settings) -> Hashable:
        """Returns the corpus and the unit that its texts are split into."""
        return settings.data, settings.tokens

    def resolve(self, settings: Settings, data: Encoded) -> tuple[Settings, list[Change]]:
        """Returns the settings that fit these texts."""
        steps = self._steps(settings, data)
        changes = [*pretrained.changes_of(settings), *recurrent.bptt_of(settings, steps)]
        if not is_stream(settings):
            changes += words.truncation_of(settings, data.longest + 1)
        used = settings.model_copy(update={change.key: change.used for change in changes})
        if used.parameters is None:
            return used, changes
        units = sizes.units_for(used)
        return used.model_copy(update={"units": units.used, "parameters": None}), [*changes, units]

    def refusals(self, settings: Settings, data: Encoded) -> list[str]:
        """Returns the combinations of settings and data that cannot run, each with its fix."""
        from src.tasks.language_model import texts

        memory = sizes.memory_refusals(settings, steps=self._steps(settings, data))
        vocabulary = data.words(settings.vocab_size) if settings.embedding_from else []
        width = settings.embedding_dim
        vectors = pretrained.refusals(settings, vocabulary, width=width, encoding=settings.encoding)
        return [*toggles.refusals(settings), *vectors, *memory, *texts.left_out(settings, data)]

    def _steps(self, settings: Settings, data: Encoded) -> int:
        from src.tasks.language_model import texts

        return texts.longest_steps(settings, data)

    def measures(self, settings: Settings, data: Encoded) -> dict[str, float]:
        """Returns the shares of unknown words and of leaked texts."""
        from src.data.splits import TEST, VALIDATION
        from src.tasks.language_model import texts

        leaked = {name: data.contents.leaked_share(name) for name in (TEST, VALIDATION)}
        return {
            "data/leaked_test": leaked[TEST],
            "data/leaked_validation": leaked[VALIDATION],
            "data/unknown_fraction": texts.unknown_shares(settings, data)[VALIDATION],
        }

    def summary(self, settings: Sequence[Settings], data: Encoded) -> list[str]:
        """Returns lines about the data for the plan."""
        from src.tasks.language_model import summary

        return summary.lines(settings, data)

    def dataset(self, settings: Settings, data: Encoded) -> dict[str, Any]:
        """Returns the description of the corpus for MLflow."""
        return described(settings.data, data, {"text": "string"})

    def work(self, settings: Settings, data: Encoded) -> float:
        """Returns the multiplications of a batch, in millions: those of the output layer and of the recurrence."""
        from src.tasks.language_model import texts

        steps = settings.length if is_stream(settings) else float(texts.training_lengths(settings, data).mean())
        width = settings.embedding_dim if settings.tie_weights else settings.units
        compared = settings.vocab_size if settings.softmax == "full" else settings.softmax_samples
        of_word = compared * width + of_layers(settings, width=sizes.width(settings))
        return settings.batch_size * steps * of_word / 1e6

    def phase(self, settings: Settings, data: Encoded) -> Phase:
        """Returns the splits and their batches."""
        from src.tasks.language_model import texts

        return texts.phase(settings, data)

    def model(self, settings: Settings, data: Encoded) -> keras.Model:
        """Returns the untrained language model."""
        from src.tasks.language_model.model import language_model

        model = language_model(settings)
        if settings.embedding_from is not None:
            layer = model.get_layer("encoding")
            pretrained.start(layer, layer.table, settings, data.words(settings.vocab_size))
        return model

    def optimizer(self, model: keras.Model, settings: Settings) -> keras.optimizers.Optimizer:
        """Returns the optimizer, with `averaging=nt_asgd` one that averages the weights."""
        if settings.averaging != "nt_asgd":
            return super().optimizer(model, settings)
        from src.models.nt_asgd import NTASGD
        from src.training.update import new_optimizer

        kind = functools.partial(NTASGD, interval=settings.averaging_interval)
        return new_optimizer(model, settings, kind=kind)

    def averaging(self, optimizer: keras.optimizers.Optimizer, settings: Settings) -> Averaging | None:
        """Returns the averages of the weights; with `averaging=nt_asgd` the optimizer holds them."""
        averages: Averaging = optimizer
        return averages if settings.averaging == "nt_asgd" else super().averaging(optimizer, settings)

    def kernel(self, settings: Settings, *, gpus: int) -> str:
        """Returns the kernel that runs the recurrence."""
        from src.parts.recurrent import layers

        return layers.kernel(settings, gpus=gpus, pads_in_front=is_masked(settings))

    def layers(self, model: keras.Model) -> list[Any]:
        """Returns the layers whose activations TensorBoard shows: the recurrent ones."""
        names = tuple(f"recurrent_{number}" for number in range(1, 65))
        return [layer for layer in model.layers if layer.name in names]

    def causes(self, evidence: Evidence) -> Iterator[str]:
        """Yields possible causes why the model did not learn: those of every model of texts, and too few steps."""
        from src.parts.words.diagnosis import of_texts
        from src.training import diagnosis

        settings: Settings = evidence.learner.settings  # type: ignore[assignment]
        characters = settings.tokens != "word"
        yield from of_texts(evidence, what="pieces of text", look_at="the data", are_characters_tried=characters)
        yield from diagnosis.too_few_steps(evidence)

    def epoch_samples(self, trial: Trial[Settings, Encoded], learner: Learner) -> Iterator[Mapping[str, Any]]:
        """Returns texts that the model writes."""
        from src.tasks.language_model import samples

        return samples.of_model(trial, learner.model)

    def test_values(self, trial: Trial[Settings, Encoded], trained: Trained) -> Mapping[str, float]:
        """Returns the perplexities of n-gram models and of their mixture with the model, and its weight."""
        return baselines.test_values(trial.settings, trial.data, trained)

    def pictures(
        self, trial: Trial[Settings, Encoded], learner: Learner, trained: Trained | None
    ) -> Mapping[str, np.ndarray]:
        """Returns, after the test, the loss per word by its frequency and by its position."""
        if trained is None:
            return {}
        from src.tasks.language_model import losses, pictures

        return pictures.of_losses(losses.of_trial(trial.settings, trial.data, trained))

    def write_files(self, trial: Trial[Settings, Encoded], trained: Trained) -> list[str]:
        """Writes the loss of every test text, the vocabulary, and the loss per word by frequency and position."""
        from src.tasks.language_model import losses, vocabulary

        settings, data = trial.settings, trial.data
        words, tokens = data.words(settings.vocab_size), data.contents.tokens
        return [
            *super().write_files(trial, trained),
            vocabulary.write(trial.folder, words, tokens=tokens),
            losses.write(trial.folder, losses.of_trial(settings, data, trained)),
        ]


TASK = LanguageModel()
