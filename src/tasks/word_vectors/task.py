"""The task `word_vectors`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

from src.parts.description import described
from src.spec.metric import LOSS, Metric
from src.spec.rules import Change
from src.spec.task import Command, Trial
from src.tasks.word_vectors import toggles
from src.tasks.word_vectors.settings import Settings, is_counted
from src.training.task import KerasTask, Trained

if TYPE_CHECKING:
    import keras

    from src.tasks.word_vectors.corpus import Corpus
    from src.training.phase import Phase

_CORRELATION: dict[str, Any] = {"margin": 0.02, "least": -1.0, "most": 1.0, "of_corpus": True}
_SHARE: dict[str, Any] = {"margin": 0.02, "least": 0.0, "most": 1.0}
WORDSIM = Metric("wordsim", "higher", title="WordSim-353", target=0.35, **_CORRELATION)
SIMLEX = Metric("simlex", "higher", title="SimLex-999", **_CORRELATION)
ANALOGIES = Metric("analogies", "higher", title="analogies (3CosAdd)", of_corpus=True, **_SHARE)
ANALOGIES_MUL = Metric("analogies_mul", "higher", title="analogies (3CosMul)", test_only=True, **_SHARE)
CROSS_ENTROPY = Metric("cross_entropy", "lower", title="cross entropy", margin=0.02, least=0.0, of_corpus=True)
READS = ("words.json", "model.keras")


@final
class WordVectors(KerasTask[Settings, "Corpus"]):
    """A vector for each word, from the words around it."""

    name = "word_vectors"
    about = "a vector for each word, from the words around it"
    examples: ClassVar = {
        "task=word_vectors": "skip-gram with negative sampling on film reviews",
        "task=word_vectors data.limit=1000 epochs=1": "a quick try",
        "-m task=word_vectors architecture=skipgram,cbow,ppmi_svd": "predict or count?",
        "task=word_vectors data=text data.path=FILE": "your own text file",
    }
    settings = Settings
    metrics = (WORDSIM, SIMLEX, ANALOGIES, CROSS_ENTROPY, LOSS, ANALOGIES_MUL)
    inert = toggles.INERT
    commands: ClassVar = {
        "nearest": Command(
            "src.tasks.word_vectors.commands:nearest", "prints the words nearest to a word", READS, "king"
        ),
        "analogy": Command(
            "src.tasks.word_vectors.commands:analogy",
            "answers an analogy: a word minus another plus a third",
            READS,
            "king - man + woman",
        ),
        "similarity": Command(
            "src.tasks.word_vectors.commands:similarity", "prints the cosine of two words", READS, "king queen"
        ),
        "export": Command(
            "src.tasks.word_vectors.commands:export",
            "writes the vectors as word2vec does, for gensim and other programs",
            READS,
            "vectors.kv",
        ),
    }

    figures: ClassVar = {
        "course_pairs": "src.tasks.word_vectors.figures:pairs",
        "softmax_costs": "src.tasks.word_vectors.figures:softmax_costs",
    }

    def load(self, settings: Settings) -> Corpus:
        """Returns the encoded corpus."""
        from src.tasks.word_vectors import corpus

        return corpus.load(settings)

    def source(self, settings: Settings) -> Hashable:
        """Returns the corpus, and whether it is divided into sentences."""
        return settings.data, settings.across_lines

    def resolve(self, settings: Settings, data: Corpus) -> tuple[Settings, list[Change]]:
        """Returns `vocab_size=null` if the corpus has no more words with `min_count`."""
        frequent = int((data.counts >= settings.min_count).sum())
        if settings.vocab_size is None or settings.vocab_size < frequent:
            return settings, []
        reason = f"{frequent:,} words occur min_count={settings.min_count} times or more"
        return settings.model_copy(update={"vocab_size": None}), [
            Change("vocab_size", settings.vocab_size, None, reason)
        ]

    def refusals(self, settings: Settings, data: Corpus) -> list[str]:
        """Returns the combinations of settings and data that cannot run, each with its fix."""
        return toggles.refusals(settings, data)

    def measures(self, settings: Settings, data: Corpus) -> dict[str, float]:
        """Returns the number of words and examples, and of the tests that have only known words."""
        from src.tasks.word_vectors import summary

        return summary.measures(settings, data)

    def summary(self, settings: Sequence[Settings], data: Corpus) -> list[str]:
        """Returns lines about the data for the plan."""
        from src.tasks.word_vectors import summary

        return summary.lines(settings, data)

    def dataset(self, settings: Settings, data: Corpus) -> dict[str, Any]:
        """Returns the description of the corpus for MLflow."""
        return described(settings.data, data, {"text": "string"})

    def work(self, settings: Settings, data: Corpus) -> float:
        """Returns the multiplications of a batch, in millions."""
        from src.tasks.word_vectors import corpus, examples

        if is_counted(settings):
            return 1.0
        is_full = settings.loss == "full"
        compared = corpus.row_count(settings, data) if is_full else 1 + examples.negative_count(settings)
        return settings.batch_size * compared * settings.vector_size / 1e6

    def phase(self, settings: Settings, data: Corpus) -> Phase:
        """Returns the batches, the loss and the tests of words."""
        from src.tasks.word_vectors import learning

        return learning.phase(settings, data)

    def model(self, settings: Settings, data: Corpus) -> keras.Model:
        """Returns the untrained model; that of counted vectors is complete."""
        from src.tasks.word_vectors.model import word_model

        return word_model(settings, data)

    def schedule(self, settings: Settings, *, steps: int) -> keras.optimizers.schedules.LearningRateSchedule | None:
        """Returns the learning rate that falls linearly to `learning_rate_end`; `schedule` if that is null."""
        import keras

        if settings.learning_rate_end is None:
            return super().schedule(settings, steps=steps)
        return keras.optimizers.schedules.PolynomialDecay(settings.learning_rate, steps, settings.learning_rate_end)

    def layers(self, model: keras.Model) -> list[Any]:
        """Returns no layers: the model has only its tables."""
        return []

    def test_values(self, trial: Trial[Settings, Corpus], trained: Trained) -> Mapping[str, float]:
        """Returns the share of analogies that 3CosMul solves."""
        from src.tasks.word_vectors import tested

        return {ANALOGIES_MUL.name: tested.share_multiplied(trial.folder)}

    def write_files(self, trial: Trial[Settings, Corpus], trained: Trained) -> list[str]:
        """Writes the words, the analogies by section and, if enabled, the projector."""
        from src.tasks.word_vectors import tested

        return [*super().write_files(trial, trained), *tested.write(trial, trained)]


TASK = WordVectors()
