"""The task `translation`: a sentence in another language."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

from src.models.cell_facts import FACTS
from src.parts.description import described
from src.parts.words import pretrained
from src.spec.metric import LOSS, Metric
from src.spec.rules import Change
from src.spec.task import Command, Trial
from src.tasks.translation import alignment, by_length, toggles
from src.tasks.translation.settings import Settings
from src.training.task import KerasTask, Trained

if TYPE_CHECKING:
    import keras

    from src.data.encoded_pairs import EncodedPairs
    from src.training.phase import Learner, Phase

BLEU = Metric("bleu", "higher", title="BLEU", digits=1, margin=0.5, target=20.0, least=0.0, most=100.0, of_corpus=True)
CHRF = Metric("chrf", "higher", title="chrF", digits=1, margin=0.5, least=0.0, most=100.0, of_corpus=True)
EXACT_MATCH = Metric("exact_match", "higher", margin=0.01, least=0.0, most=1.0, of_corpus=True)
TOKEN_ACCURACY = Metric("token_accuracy", "higher", margin=0.01, least=0.0, most=1.0, of_corpus=True)
ALIGNMENT_ERROR = Metric(alignment.ERROR, "lower", margin=0.01, least=0.0, most=1.0, test_only=True)
ALIGNMENT_MASS = Metric(alignment.MASS, "higher", margin=0.01, least=0.0, most=1.0, test_only=True)


@final
class Translation(KerasTask[Settings, "EncodedPairs"]):
    """A sentence in another language, from an encoder and a decoder with attention."""

    name = "translation"
    about = "a sentence in another language, with attention"
    examples: ClassVar = {
        "task=translation": "dates in words to ISO dates, with additive attention",
        "-m task=translation attention=none,dot,additive": "what attention gains",
        "task=translation data=pairs data.path=FILE": "your own pairs of sentences",
    }
    settings = Settings
    metrics = (BLEU, CHRF, EXACT_MATCH, TOKEN_ACCURACY, LOSS, ALIGNMENT_ERROR, ALIGNMENT_MASS, *by_length.METRICS)
    inert = toggles.INERT
    commands: ClassVar = {
        "translate": Command(
            "src.tasks.translation.commands:translate",
            "translates texts, and draws the attention",
            files=("vocabularies.json", "model.keras"),
            example='"TEXT"',
        ),
        "compare-attention": Command(
            "src.tasks.translation.commands:compare_attention",
            "draws the attention of several trials side by side",
            files=("vocabularies.json", "model.keras"),
            example='RUN "TEXT"',
        ),
    }
    figures: ClassVar = {
        "attention": "src.tasks.translation.figures:attention",
        "by_length": "src.tasks.translation.figures:by_length",
    }

    def load(self, settings: Settings) -> EncodedPairs:
        """Returns the encoded corpus."""
        from src.data import encoded_pairs
        from src.tasks.translation import sentences

        return encoded_pairs.load(settings.data, sentences.tokenisation(settings))

    def source(self, settings: Settings) -> Hashable:
        """Returns the corpus and what its encoding depends on."""
        size = settings.vocab_size if settings.tokens == "subword" else None
        return settings.data, settings.tokens, settings.lowercase, settings.share_vocabulary, size

    def resolve(self, settings: Settings, data: EncodedPairs) -> tuple[Settings, list[Change]]:
        """Returns `vocab_size` as the number of ids that training needs, if it has no more tokens."""
        size, changes = data.ids, pretrained.changes_of(settings)
        settings = settings.model_copy(update={change.key: change.used for change in changes})
        if settings.tokens == "subword" or settings.vocab_size <= size:  # merges depend on vocab_size as it is
            return settings, changes
        reason = f"training has no more different tokens: {size:,} ids are enough for each side"
        change = Change("vocab_size", settings.vocab_size, size, reason)
        return settings.model_copy(update={"vocab_size": size}), [*changes, change]

    def refusals(self, settings: Settings, data: EncodedPairs) -> list[str]:
        """Returns the combinations of settings and data that cannot run, each with its fix."""
        from src.data.pair_contents import SOURCE
        from src.tasks.translation import sentences

        words = data.vocabulary(SOURCE, settings.vocab_size).words if settings.embedding_from else []
        vectors = pretrained.refusals(settings, words, width=settings.embedding_dim)
        return [*toggles.refusals(settings), *vectors, *sentences.left_out(settings, data)]

    def measures(self, settings: Settings, data: EncodedPairs) -> dict[str, float]:
        """Returns the shares of leaked pairs and of unknown tokens."""
        from src.data.splits import TEST, VALIDATION
        from src.tasks.translation import sentences

        unknown = sentences.unknown_shares(settings, data, VALIDATION)
        leaked = {f"data/leaked_{name}": data.contents.leaked[name] / data.rows[name] for name in (TEST, VALIDATION)}
        return {**leaked, **{f"data/unknown_{side}": share for side, share in unknown.items()}}

    def summary(self, settings: Sequence[Settings], data: EncodedPairs) -> list[str]:
        """Returns lines about the data for the plan."""
        return data.contents.lines(data.origin)

    def dataset(self, settings: Settings, data: EncodedPairs) -> dict[str, Any]:
        """Returns the description of the corpus for MLflow."""
        return described(settings.data, data, {"source": "string", "target": "string"})

    def work(self, settings: Settings, data: EncodedPairs) -> float:
        """Returns the multiplications of a batch, in millions: those of the recurrences and of the output layer."""
        steps = sum(data.contents.tokens["train"].values()) / data.rows["train"]
        of_layer = len(FACTS[settings.cell].gates) * settings.units * (settings.embedding_dim + settings.units)
        return settings.batch_size * steps * (settings.depth * of_layer + settings.units * settings.vocab_size) / 1e6

    def phase(self, settings: Settings, data: EncodedPairs) -> Phase:
        """Returns the splits, their batches and what is measured."""
        from src.tasks.translation import learning

        return learning.phase(settings, data)

    def model(self, settings: Settings, data: EncodedPairs) -> keras.Model:
        """Returns the untrained model."""
        from src.data.pair_contents import SOURCE
        from src.tasks.translation.model import translation_model

        model = translation_model(settings, data)
        if settings.embedding_from is not None:
            embedding = model.get_layer("encoder").embedding
            words = data.vocabulary(SOURCE, settings.vocab_size).words
            pretrained.start(embedding, embedding.embeddings, settings, words)
        return model

    def epoch_pictures(self, trial: Trial[Settings, EncodedPairs], learner: Learner) -> Mapping[str, Any]:
        """Returns the attention of one test sentence, with the current weights."""
        from src.tasks.translation import attended

        return attended.pictures(trial.folder, trial.settings, trial.data, learner.model)

    def test_values(self, trial: Trial[Settings, EncodedPairs], trained: Trained) -> Mapping[str, float]:
        """Returns scores by the length of the source, and how far attention is right.

        Attention needs a known alignment, and the model reads the references for it.
        """
        from src.tasks.translation import translations

        pairs = translations.plain_pairs(trial.settings, trial.data, _translated(trained))
        by_ends = by_length.of_test(pairs, lowercase=trial.settings.lowercase)
        return {**by_ends, **{name: float(values.mean()) for name, values in trained.test.positions.items()}}

    def samples(self, trial: Trial[Settings, EncodedPairs], trained: Trained) -> list[dict[str, Any]]:
        """Returns the translations of the first test sentences."""
        from src.tasks.translation import translations

        return [translations.sample(trial.settings, trial.data, _translated(trained))]

    def write_files(self, trial: Trial[Settings, EncodedPairs], trained: Trained) -> list[str]:
        """Writes the loss of every test pair, the translations of the test, the vocabularies, and some attention."""
        from src.data.pair_contents import SIDES
        from src.tasks.translation import attended, translations, vocabulary

        vocabularies = {side: trial.data.vocabulary(side, trial.settings.vocab_size) for side in SIDES}
        return [
            *super().write_files(trial, trained),
            translations.write(trial.folder, translations.of_test(trial.settings, trial.data, _translated(trained))),
            vocabulary.write(trial.folder, vocabularies),
            *attended.write(trial.folder, trial.settings, trial.data, trained.learner.model),
        ]


def _translated(trained: Trained) -> Any:
    """Returns the ids of the translations of all test sources, int32[N, L]."""
    from src.tasks.translation import learning

    return trained.test.predictions[learning.TRANSLATION]


TASK = Translation()
