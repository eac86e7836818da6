"""The task `sentiment`."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from src.parts import own_model
from src.parts.classes import labelled
from src.parts.classes import toggles as classes
from src.parts.classes.toggles import ACCURACY, OF_CLASSES, head_of, outputs_of
from src.parts.description import described
from src.parts.recurrent import toggles as recurrent
from src.parts.sizes import memory_refusals
from src.parts.words import pretrained
from src.parts.words import toggles as words
from src.spec.metric import LOSS
from src.spec.rules import Change
from src.spec.section import SettingsError
from src.spec.task import Command, First, Served, Trial
from src.tasks.sentiment import pretexts, sizes, toggles
from src.tasks.sentiment.settings import Settings, is_fitted, pads_in_front
from src.training.task import KerasTask, Trained

if TYPE_CHECKING:
    import keras

    from src.data.encoded import Encoded
    from src.training.diagnosis import Evidence
    from src.training.phase import Phase


# work of a step of a text by encoder, in that of a recurrent layer; guesses, not measured
OF_STEP = {"recurrent": 1.0, "bag": 0.1, "cnn": 0.5, "transformer": 0.5, "tfidf": 0.01, "largest_class": 0.01}


@final
class Sentiment(KerasTask[Settings, "Encoded"]):
    """One label for a text."""

    name = "sentiment"
    about = "one label for a text"
    examples: ClassVar = {
        "-m masking=true,false cell=lstm,gru": "all 4 combinations",
        "-m cell=lstm,gru seed='range(0,8)'": "2 variants × 8 seeds",
        "-m encoder=recurrent,bag,cnn,transformer,tfidf": "is recurrence needed?",
        "-m pretext=none,language_model labels=50": "does a language model help where labels are few?",
        "-m model=null,my_module:build": "a model of your own",
        "data=table data.path=mine.csv": "your own texts",
        "data.limit=500 epochs=1": "a quick try",
    }
    settings = Settings
    metrics = (ACCURACY, LOSS, *OF_CLASSES)
    inert = toggles.INERT
    figures: ClassVar = {
        "confusion": "src.parts.classes.figures:confusion",
        "reliability": "src.parts.classes.figures:reliability",
        "accuracy_by_labels": "src.parts.classes.figures:accuracy_by_labels",
    }
    commands: ClassVar = {
        "predict": Command(
            "src.tasks.sentiment.commands:predict",
            "classifies texts",
            files=("preprocessing.json", "model.keras"),
            example='"a film I would see again"',
            module="src.predict",
        ),
        "errors": Command(
            "src.parts.classes.errors:errors",
            "shows the test texts that it got most wrong",
            files=("worst_test.parquet",),
        ),
    }

    def load(self, settings: Settings) -> Encoded:
        """Returns the encoded corpus."""
        if settings.data.name in ("aclimdb", "table") and not settings.data.path:
            raise SettingsError(f"data={settings.data.name} needs a path; add data.path=FILE_OR_FOLDER")
        from src.data import encoded

        return encoded.load(settings.data, tokens=settings.tokens)

    def source(self, settings: Settings) -> Hashable:
        """Returns the corpus and the unit that its texts are split into."""
        return settings.data, settings.tokens

    def resolve(self, settings: Settings, data: Encoded) -> tuple[Settings, list[Change]]:
        """Returns the settings that fit these texts and classes."""
        from src.tasks.sentiment import texts

        longest = words.longest_allowed(settings, data.longest)
        count = len(data.classes)
        changes = [
            *pretrained.changes_of(settings),
            *words.truncation_of(settings, longest),
            *recurrent.bptt_of(settings, longest),
            *head_of(settings, count),
            *pretexts.changes(settings),
            *([] if settings.labels is None else texts.label_changes(settings, data)),
        ]
        used = settings.model_copy(update={change.key: change.used for change in changes})
        if used.parameters is None or used.model is not None:
            return used, changes
        size = sizes.sized(used, classes=count)
        return used.model_copy(update={size.key: size.used, "parameters": None}), [*changes, size]

    def refusals(self, settings: Settings, data: Encoded) -> list[str]:
        """Returns the reasons why the settings do not work with these texts."""
        from src.tasks.sentiment import texts

        vocabulary = data.words(settings.vocab_size) if settings.embedding_from else []
        width = settings.embedding_dim
        vectors = pretrained.refusals(settings, vocabulary, width=width, encoding=settings.encoding)
        own = classes.refusals(settings, counts=lambda split: data.contents.counts[split], classes=data.classes)
        own += texts.label_refusals(settings, data) or texts.left_out(settings, data)
        if settings.model is not None:
            return [*own, *own_model.refusals(settings, _interface(settings, data))]
        own += toggles.refusals(settings, width=sizes.width(settings))
        return [*own, *vectors, *self._memory(settings, data), *pretexts.refusals(settings, data)]

    def _memory(self, settings: Settings, data: Encoded) -> list[str]:
        steps = words.longest_allowed(settings, data.longest)
        needed = sizes.required_mb(settings, steps=steps, classes=len(data.classes))
        fix = "set a smaller batch_size, max_length, units or embedding_dim"
        if settings.encoding != "embedding":
            fix = f"set encoding=embedding, or a smaller vocab_size (now {settings.vocab_size})"
        keys = ("encoding", "vocab_size", "batch_size", "units")
        return memory_refusals(settings, needed, keys=keys, data=f"{steps} steps", fix=fix)

    def hashed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Returns the settings in the original layout, on which identities are based."""
        return {**values, "task": {"name": self.name}}

    def measures(self, settings: Settings, data: Encoded) -> dict[str, float]:
        """Returns the number of labelled texts, and the shares of leaked texts and of unknown words."""
        from src.parts.words import sequences
        from src.tasks.sentiment import texts

        count = labelled.count(settings, texts.training_counts(settings, data))
        return {labelled.LABELS: count, **sequences.measures(settings, data)}

    def summary(self, settings: Sequence[Settings], data: Encoded) -> list[str]:
        """Returns a few lines about the data that were read."""
        from src.parts.words import sequences

        unequal = classes.warnings(settings[0], counts=data.contents.counts, classes=data.classes)
        return [*sequences.summary(settings, data), *(f"  warning: {warning}" for warning in unequal)]

    def dataset(self, settings: Settings, data: Encoded) -> dict[str, Any]:
        """Returns the description of the corpus for MLflow."""
        return {**described(settings.data, data, {"input": "string", "class": "string"}), "classes": data.classes}

    def work(self, settings: Settings, data: Encoded) -> float:
        """Returns steps × layers × directions; encoders that read all steps at once count them for less."""
        steps = words.longest_allowed(settings, data.longest)
        return steps * settings.depth * (2 if settings.bidirectional else 1) * OF_STEP[settings.encoder]

    def first(self, settings: Settings, data: Encoded) -> First | None:
        """Returns the pretext, if there is one."""
        return pretexts.first(settings, data)

    def begin(self, model: keras.Model, trial: Trial[Settings, Encoded]) -> None:
        """Gives the classifier the layers of the pretext."""
        pretexts.take_over(model, trial.settings, trial.folder)

    def phase(self, settings: Settings, data: Encoded) -> Phase:
        """Returns the splits and their batches."""
        from src.tasks.sentiment import texts

        return texts.phase(settings, data)

    def served(self, folder: Path) -> Served | None:
        """Returns how MLflow serves the classifier, which takes raw texts and returns probabilities."""
        from src.tasks.sentiment import serving

        return serving.served(folder)

    def model(self, settings: Settings, data: Encoded) -> keras.Model:
        """Returns the untrained classifier."""
        if settings.model is not None:
            return own_model.built(settings, _interface(settings, data))
        from src.tasks.sentiment.model import classifier

        model = classifier(settings, classes=len(data.classes))
        if is_fitted(settings):
            from src.tasks.sentiment import fitted

            fitted.start(model, settings, data)
        if settings.embedding_from is not None:
            layer = model.get_layer("encoding")
            pretrained.start(layer, layer.embeddings, settings, data.words(settings.vocab_size))
        pretexts.freeze(model, settings)
        return model

    def kernel(self, settings: Settings, *, gpus: int) -> str:
        """Returns the kernel that runs the recurrence, and for other encoders `execution`."""
        if settings.model is not None or settings.encoder != "recurrent":
            return super().kernel(settings, gpus=gpus)
        from src.parts.recurrent import layers

        return layers.kernel(settings, gpus=gpus, pads_in_front=pads_in_front(settings))

    def layers(self, model: keras.Model) -> list[Any]:
        """Returns the layers whose activations TensorBoard shows."""
        from src.parts.recurrent.diagnosis import shown_layers

        others = [layer for layer in model.layers if layer.name.startswith(("convolution", "block"))]
        return [*shown_layers(model), *others] or [*super().layers(model)]  # a model of the user has other names

    def causes(self, evidence: Evidence) -> Iterator[str]:
        """Yields possible causes why the model did not learn: those of every model of texts, and of its encoder."""
        from src.parts.recurrent import diagnosis as recurrence
        from src.parts.words.diagnosis import of_texts
        from src.training import diagnosis

        settings: Settings = evidence.learner.settings  # type: ignore[assignment]
        if is_fitted(settings):
            return
        characters = settings.tokens != "word"
        yield from of_texts(evidence, what="sequences", look_at="the text column", are_characters_tried=characters)
        if evidence.has_learnt:
            return
        is_recurrent = settings.encoder == "recurrent" and settings.model is None
        if is_recurrent:
            yield from recurrence.saturated_gates(evidence, is_masked=settings.masking)
        yield from diagnosis.too_few_steps(evidence)
        if not is_recurrent:
            return
        is_padded = not words.is_never_padded(settings)
        yield from recurrence.gradient_and_units(evidence, is_masked=settings.masking, is_padded=is_padded)

    def samples(self, trial: Trial[Settings, Encoded], trained: Trained) -> list[dict[str, Any]]:
        """Returns some texts of the validation split with their predictions."""
        from src.tasks.sentiment import texts

        return texts.samples_of(trial, trained)

    def test_values(self, trial: Trial[Settings, Encoded], trained: Trained) -> Mapping[str, float]:
        """Returns what the test measures with a decision threshold that validation chose."""
        from src.parts.classes import scores

        return scores.test_values(trial.settings, trained, lambda name: trial.data.split(name).labels)

    def write_files(self, trial: Trial[Settings, Encoded], trained: Trained) -> list[str]:
        """Writes the preprocessing, what the test says, its worst errors and, if enabled, the projector."""
        from src.tasks.sentiment import texts

        return texts.write_files(trial, trained)


def _interface(settings: Settings, data: Encoded) -> own_model.Interface:
    """Returns what every classifier of texts reads and returns: ids, 0 for padding, and logits."""
    return own_model.Interface("ids", (None,), "int32", outputs_of(settings, len(data.classes)))


TASK = Sentiment()
