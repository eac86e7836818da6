"""n-gram models of the training texts, and their mixture with a trained model, on the words that its perplexity counts.

They are interpolated modified Kneser-Ney models (`src.models.ngrams`) of all training texts whole, whatever part of
them a trial reads. They depend on the corpus, its unit and `vocab_size`, not on the network or the seed. So a machine
counts once: the cache has the perplexities, and the probability of every held-out word for the longest n-grams.

Letters: N words of a split, ends included, text by text.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from src.spec.metric import Metric

if TYPE_CHECKING:
    import numpy as np

    from src.data.encoded import Encoded
    from src.tasks.language_model.settings import Settings
    from src.training.task import Trained

ORDERS = (1, 2, 3, 4, 5)
LONGEST = ORDERS[-1]
NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}
STORING = "1"  # increment it when the stored arrays or their record change
MIXTURE, WEIGHT = "perplexity_mixture", "mixture_weight"


def _perplexity(name: str, title: str) -> Metric:
    return Metric(name, "lower", title=title, digits=1, margin=1.0, least=1.0, test_only=True)


METRICS = (
    *(_perplexity(f"perplexity_{n}gram", f"{NAMES.get(n, f'{n}-gram')} perplexity") for n in ORDERS),
    _perplexity(MIXTURE, "mixture perplexity"),
    Metric(WEIGHT, None, title="weight of the model in the mixture", digits=2, least=0.0, most=1.0, test_only=True),
)


class Baselines(NamedTuple):
    """The n-gram models of a corpus.

    Attributes:
      perplexities: order → perplexity of the test words.
      validation: float32[N] natural logarithms of the probabilities of the validation words, of order `LONGEST`.
      test: float32[N] those of the test words.
    """

    perplexities: dict[int, float]
    validation: np.ndarray
    test: np.ndarray


def of_corpus(settings: Settings, data: Encoded) -> Baselines:
    """Returns the n-gram models of a corpus, from the cache if possible."""
    import numpy as np

    from src.data.cache import content_hash, stored
    from src.data.splits import SPLITS, TEST, VALIDATION
    from src.files import digest
    from src.models.ngrams import COUNTING

    files = [data.folder / f"{name}.{part}.npy" for name in SPLITS for part in ("ids", "starts")]
    content = content_hash(files)
    folder, about = stored(
        f"ngrams-{digest([content, settings.vocab_size, list(ORDERS), COUNTING, STORING])}",
        origin=f"n-grams of {data.origin}",
        files=files,
        find=lambda: files,
        content=content,
        write=functools.partial(_write, settings, data),
        check=lambda about: about["perplexities"],
    )
    perplexities = dict(zip(ORDERS, about["perplexities"], strict=True))
    return Baselines(perplexities, *(np.load(folder / f"{name}.npy", mmap_mode="r") for name in (VALIDATION, TEST)))


def _write(settings: Settings, data: Encoded, folder: Path) -> dict[str, Any]:
    """Counts the training words, and writes the logarithms of the probabilities of the held-out words."""
    import numpy as np

    from src.data.splits import SPLITS, TEST, VALIDATION
    from src.models import ngrams
    from src.tasks.language_model import texts

    train, validation, test = (texts.predicted(data, name, settings.vocab_size) for name in SPLITS)
    counts = ngrams.count(train, vocab_size=settings.vocab_size, end=texts.END, order=LONGEST)
    perplexities = []
    for order in ORDERS:
        model = ngrams.KneserNey(counts, order=order)
        of_test = model.log_probabilities(test)
        perplexities.append(ngrams.perplexity(of_test))
    np.save(folder / f"{TEST}.npy", of_test.astype(np.float32))
    np.save(folder / f"{VALIDATION}.npy", model.log_probabilities(validation).astype(np.float32))
    return {"perplexities": perplexities}


def test_values(settings: Settings, data: Encoded, trained: Trained) -> Mapping[str, float]:
    """Returns the values of `METRICS` for a trained model. Validation alone gives the weight of the mixture."""
    from src.models import ngrams
    from src.tasks.language_model.texts import LOSSES

    baselines = of_corpus(settings, data)
    weight = ngrams.mixture_weight(_logarithms(trained.validation.positions[LOSSES]), baselines.validation)
    mixture = ngrams.mixed(_logarithms(trained.test.positions[LOSSES]), baselines.test, weight)
    values = {f"perplexity_{order}gram": value for order, value in baselines.perplexities.items()}
    return {**values, MIXTURE: ngrams.perplexity(mixture), WEIGHT: weight}


def _logarithms(losses: np.ndarray) -> np.ndarray:
    """Returns float64[N] logarithms of probabilities from losses; a word without a finite loss has probability 0."""
    import numpy as np

    return np.where(np.isfinite(losses), -losses.astype(np.float64), -np.inf)
