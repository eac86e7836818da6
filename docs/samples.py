"""Writes docs/samples/language_model.md: texts of a trained language model, for docs/predicting.md.

python -m docs.samples RUN && python -m docs.generated
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from src.paths import REPOSITORY
from src.spec.section import SettingsError
from src.spec.settings import Settings
from src.tasks.language_model import generating, trained
from src.tasks.language_model.generating import STRATEGIES, Options
from src.tasks.language_model.trained import Trained
from src.terminal.visible import in_markdown
from src.trial.locate import folder_of

S = TypeVar("S", bound=Settings)
M = TypeVar("M")

FILE = REPOSITORY / "docs" / "samples" / "language_model.md"
PROMPT, LENGTH = "this film", 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the file; returns 0, or 2 for an error."""
    return write(arguments, FILE, table, command="docs.samples")


def write(arguments: Sequence[str] | None, file: Path, table: Callable[[Trained], str], *, command: str) -> int:
    """Writes what `table` returns for the trained language model that the command line names; see `write_of`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return write_of(words, file, lambda models: table(models[0]), trained.load, trained.FILES, usage=f"{command} RUN")


def write_of(
    words: Sequence[str],
    file: Path,
    table: Callable[[list[M]], str],
    load: Callable[[Path], M],
    files: Sequence[str],
    *,
    usage: str,
) -> int:
    """Writes what `table` returns for trained models.

    Args:
      words: the command line after the command: one run, or several if `usage` ends with an ellipsis.
      file: the file to write.
      table: trained models → content of the file.
      load: folder of a trial → its trained model.
      files: what `load` needs of a trial.
      usage: the module that was called, and its arguments.

    Returns:
      0, or 2 for an error.
    """
    if not words or words[0].startswith("-") or (len(words) > 1 and not usage.endswith("…")):
        print(f"usage: python -m {usage}", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory() as here:
            folders = [folder_of(run, uri=None, download_to=Path(here), files=files) for run in words]
            file.write_text(table([load(folder) for folder in folders]), encoding="utf-8")
    except (SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def table(model: Trained) -> str:
    """Returns one text per strategy with its log-probability per word, and the settings of the trial."""
    options = [Options(strategy, PROMPT, LENGTH, False, {}) for strategy in STRATEGIES]
    for one in options:
        generating.check(one, model)
    stepper = model.stepper()
    rows = ["| `--strategy` | log-probability per word | text |", "| --- | --- | --- |"]
    for one in options:
        prompt = generating.encoded(PROMPT, model)
        texts = generating.generate(one, prompt, model, stepper)
        is_sample = one.strategy == "sample"
        best = texts[generating.likeliest(texts) if is_sample else 0]
        name = f"`{one.strategy}`" + (f", the likeliest of {len(texts)}" if is_sample else "")
        shown = in_markdown(model.vocabulary.text([*prompt.ids, *best.words]))
        rows.append(f"| {name} | {best.per_word:.2f} | {shown}{'' if best.has_ended else ' …'} |")
    command = f'`python -m src.use RUN generate --prompt "{PROMPT}" --length {LENGTH}`'
    return "\n".join([*rows, "", f"{command}; {described(model.settings)}."]) + "\n"


def common(several: Sequence[S]) -> S:
    """Returns the settings that trials of different seeds share: those of the first one.

    Raises:
      ValueError: they differ by more than the seed, or two have the same one.
    """
    toggles = [{key: getattr(each, key) for key in each.toggles() if key != "seed"} for each in several]
    if any(other != toggles[0] for other in toggles) or len({each.seed for each in several}) != len(several):
        raise ValueError("the trials must have equal settings and different seeds")
    return several[0]


def described(settings: Settings, *, without: Sequence[str] = ()) -> str:
    """Returns what a trial was, in a few words: its toggles that differ from the defaults, `without` some."""
    changed = (
        ", ".join(f"`{key}={value}`" for key, value in _changed(settings) if key not in without)
        or "the default settings"
    )
    return f"a trial of `task={settings.task}` with {changed}"


def _changed(settings: Settings) -> Iterator[tuple[str, object]]:
    """Yields the toggles of a trial that differ from the defaults."""
    values = settings.model_dump(include={*settings.toggles()} - {"task"})
    defaults = type(settings)(task=settings.task).model_dump()
    for key, value in values.items():
        if key == "data":
            of_corpus = defaults["data"] if value["name"] == defaults["data"]["name"] else {}
            yield from ((f"data.{name}", part) for name, part in value.items() if part != of_corpus.get(name))
        elif value != defaults[key]:
            yield key, value


if __name__ == "__main__":
    sys.exit(main())
