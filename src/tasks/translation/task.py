"""The task `translation`: its data, rules and metrics. The model is not part of it yet, and the task not registered."""

from __future__ import annotations

import abc
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.spec.metric import LOSS, Metric
from src.spec.rules import Change
from src.tasks.translation import toggles
from src.tasks.translation.settings import Settings
from src.training.task import KerasTask

if TYPE_CHECKING:
    from src.data.encoded_pairs import EncodedPairs

BLEU = Metric("bleu", "higher", title="BLEU", digits=1, margin=0.5, target=20.0, least=0.0, most=100.0)
CHRF = Metric("chrf", "higher", title="chrF", digits=1, margin=0.5, least=0.0, most=100.0)
EXACT_MATCH = Metric("exact_match", "higher", margin=0.01, least=0.0, most=1.0)
TOKEN_ACCURACY = Metric("token_accuracy", "higher", margin=0.01, least=0.0, most=1.0)
ALIGNMENT_ERROR = Metric("alignment_error", "lower", margin=0.01, least=0.0, most=1.0)
ALIGNMENT_MASS = Metric("alignment_mass", "higher", margin=0.01, least=0.0, most=1.0)


class Translation(KerasTask[Settings, "EncodedPairs"], abc.ABC):
    """A sentence in another language, from an encoder and a decoder with attention."""

    name = "translation"
    about = "a sentence in another language, with attention"
    settings = Settings
    metrics = (BLEU, CHRF, EXACT_MATCH, TOKEN_ACCURACY, LOSS, ALIGNMENT_ERROR, ALIGNMENT_MASS)
    inert = toggles.INERT

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
        size = data.ids
        if settings.tokens == "subword" or settings.vocab_size <= size:  # merges depend on vocab_size as it is
            return settings, []
        reason = f"training has no more different tokens: {size:,} ids are enough for each side"
        change = Change("vocab_size", settings.vocab_size, size, reason)
        return settings.model_copy(update={"vocab_size": size}), [change]

    def refusals(self, settings: Settings, data: EncodedPairs) -> list[str]:
        """Returns the combinations of settings and data that cannot run, each with its fix."""
        from src.tasks.translation import sentences

        return sentences.left_out(settings, data)

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
        path = getattr(settings.data, "path", None)
        return {
            "name": Path(path).name if path else settings.data.name,
            "digest": data.digest,
            "source": path or settings.data.name,
            "columns": {"source": "string", "target": "string"},
            "rows": data.rows,
        }
