"""Compares beam sizes and length penalties of translation, and writes docs/samples/beams.md for docs/predicting.md.

python -m docs.beams RUN RUN… && python -m docs.generated

The runs are trials that differ by their seed only. Every way to search translates the same test sources with every
trained model, and is paired with greedy search on it, so intervals are over trained models, for this test.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from docs import samples
from docs.strategies import cells, markdown
from src.data.pair_contents import SOURCE, TARGET
from src.data.splits import TEST
from src.paths import REPOSITORY
from src.tasks.translation import trained, translating
from src.tasks.translation.scores import scores
from src.tasks.translation.settings import Settings
from src.tasks.translation.task import TASK
from src.tasks.translation.trained import Trained
from src.tasks.translation.translating import Options

FILE = REPOSITORY / "docs" / "samples" / "beams.md"
MOST = 1_000  # test pairs
WAYS: Mapping[str, tuple[str, Mapping[str, float]]] = {  # title → strategy and its options; the first is the reference
    "`greedy`, a beam of 1": ("greedy", {}),
    "`--beam-size 2`": ("beam", {"beam_size": 2}),
    "`--beam-size 5`": ("beam", {"beam_size": 5}),
    "`--beam-size 10`": ("beam", {"beam_size": 10}),
    "`--beam-size 5 --length-penalty 0`": ("beam", {"length_penalty": 0.0}),
    "`--beam-size 5 --length-penalty 0.6`": ("beam", {"length_penalty": 0.6}),
    "`--beam-size 5 --length-penalty 2`": ("beam", {"length_penalty": 2.0}),
}
MEASURES = ("BLEU", "chrF", "exact match", "log-probability per token", "length as a ratio of the references'")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the file; returns 0, or 2 for an error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return samples.write_of(words, FILE, table, trained.load, trained.FILES, usage="docs.beams RUN RUN…")


def table(models: Sequence[Trained]) -> str:
    """Returns the means of each way to search, and its differences from greedy search, with intervals over models.

    Raises:
      ValueError: the trials differ by more than their seed, or two have the same one.
    """
    settings = samples.common([model.settings for model in models])
    data = TASK.load(settings)
    sources, references = (data.texts(TEST, side)[:MOST] for side in (SOURCE, TARGET))
    rows = [measured(model, sources, references) for model in models]
    means = {title: np.array([row[title] for row in rows]) for title in WAYS}
    reference, *others = means
    of_each = [[title, *cells(values)] for title, values in means.items()]
    changes = [[title, *cells(means[title] - means[reference], sign="+")] for title in others]
    about = (
        f"`python -m docs.beams RUN RUN…`: {len(sources):,} test pairs; means with 95 % intervals over {len(models)} "
        f"trained models, paired by model; {samples.described(_shown(settings), without=('seed',))}."
    )
    tables = markdown(["search", *MEASURES], of_each), markdown([f"against {reference}", *MEASURES], changes)
    return "\n\n".join([*tables, about]) + "\n"


def _shown(settings: Settings) -> Settings:
    """Returns the settings without the place of the reader's files."""
    data = settings.data
    place = {"path": "FOLDER"} if getattr(data, "path", None) else {}
    return settings.model_copy(update={"data": data.model_copy(update=place)})


def measured(model: Trained, sources: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    """Returns title of `WAYS` → the `MEASURES` of one model's translations."""
    translator = model.translator()
    values = {}
    for title, (strategy, given) in WAYS.items():
        options = Options(strategy, None, given)
        read = [translating.encoded(text, model, options) for text in sources]
        found = translating.translate(read, options, model, translator)
        texts = [one.text for one in found]
        of_texts = scores(texts, references, lowercase=model.settings.lowercase)
        per_token = sum(one.log_probability for one in found) / sum(len(one.ids) for one in found)
        words = [sum(len(text.split()) for text in each) for each in (texts, references)]
        values[title] = [of_texts.bleu, of_texts.chrf, of_texts.exact_match, per_token, words[0] / words[1]]
        print(f"seed {model.settings.seed}, {title}: BLEU {of_texts.bleu:.1f}", file=sys.stderr)
    return values


if __name__ == "__main__":
    sys.exit(main())
