"""Commands on a trained translation model: `python -m src.use RUN translate` and `compare-attention`."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
import tempfile
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from src.data.texts import STANDARD_INPUT, Line, checked, lines, opened
from src.parts.strategies import option
from src.spec.section import SettingsError
from src.tasks.translation import pictures, trained, translating
from src.tasks.translation.settings import Settings
from src.tasks.translation.trained import Trained
from src.tasks.translation.translating import STRATEGIES, Options, Source, Translation
from src.terminal.errors import first_line
from src.terminal.visible import one_line, replace_what_the_terminal_lacks, shortened

MOST_RUNS = 8  # side by side
MOST_VALUES = 4  # settings in the title of each


class Strategy(StrEnum):
    """How tokens are chosen."""

    greedy = "greedy"
    sample = "sample"
    beam = "beam"


def translate(
    folder: Path,
    texts: Annotated[list[str] | None, typer.Argument(help="texts to translate", show_default=False)] = None,
    file: Annotated[str | None, typer.Option(help="file with one text per line; - reads standard input")] = None,
    strategy: Annotated[Strategy, typer.Option(help="greedy = the likeliest token each time")] = Strategy.beam,
    length: Annotated[
        int | None, typer.Option(help="largest number of tokens; default: as in the trial's test")
    ] = None,
    beam_size: Annotated[int | None, option(STRATEGIES, "beam_size", "translations continued at a time")] = None,
    length_penalty: Annotated[float | None, option(STRATEGIES, "length_penalty", "0 ranks by log p")] = None,
    seed: Annotated[int | None, option(STRATEGIES, "seed", "seed of the draws")] = None,
    plot: Annotated[Path | None, typer.Option(help="picture of the attention: .png, .svg or .pdf")] = None,
) -> int:
    """Translates texts, a line each. Exit code: 0 if all are translated, 1 if some are not, 2 for a usage error."""
    model = trained.load(folder)
    own = {"beam_size": beam_size, "length_penalty": length_penalty, "seed": seed}
    options = Options(strategy.value, length, {name: value for name, value in own.items() if value is not None})
    translating.check(options)
    given = [translating.encoded(text, model, options) for text in texts or []]
    if not given and file is None:
        raise SettingsError("no text; give one in quotes, or --file FILE with one text per line (- is standard input)")
    if plot is not None:
        if len(given) != 1 or file is not None:
            raise SettingsError("--plot draws the attention of one text; give one text, and no --file")
        _check_drawable(model, given[0], "this trial", "leave out --plot")
        pictures.check_path(plot)
    replace_what_the_terminal_lacks()
    if plot is None:
        return _translate_all([checked(text) for text in texts or []], file, model, options)
    _remark(given[0])
    (translation,) = translating.translate(given, options, model, model.translator())
    _head()
    _row(1, translation)
    _write(plot, [translating.attention(given[0], translation, model)])
    return 0


def _translate_all(texts: Sequence[Line], file: str | None, model: Trained, options: Options) -> int:
    """Prints a row for each text as soon as it is translated; returns 1 if some text has no translation, else 0."""
    count, is_whole = 0, True
    with contextlib.ExitStack() as files:
        stream = None if file is None else files.enter_context(opened(file))  # first, because loading is slow
        translator = model.translator()
        if file == STANDARD_INPUT and sys.stdin.isatty():
            print("type one text per line; Ctrl-D ends", file=sys.stderr)
        of_file = lines(stream, str(file)) if stream is not None else iter(())
        for batch in itertools.chain([texts] if texts else [], of_file):
            if not count:
                _head()
            read = [_read(line, model, options) for line in batch]
            good = [source for source in read if isinstance(source, Source)]
            found = iter(translating.translate(good, options, model, translator))
            for number, source in enumerate(read, count + 1):
                if isinstance(source, str):
                    print(f"error: text {number:,}: {one_line(source)}", file=sys.stderr)
                    print(f"{number}\tna\tna\tna\t", flush=True)
                    is_whole = False
                    continue
                _remark(source, f"text {number:,}: " if len(texts) != 1 or file else "")
                _row(number, next(found))
            count += len(batch)
    if not count:
        raise SettingsError(f"{file}: no text")
    return int(not is_whole)


def _read(line: Line, model: Trained, options: Options) -> Source | str:
    """Returns a line as a source, or why it cannot be translated."""
    if line.fault:
        return line.fault
    try:
        return translating.encoded(line.text, model, options)
    except SettingsError as error:
        return str(error)


def compare_attention(
    folder: Path,
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="other trials", show_default=False)],
    text: Annotated[str, typer.Argument(help="text to translate", show_default=False)],
    plot: Annotated[Path, typer.Option(help="the picture: .png, .svg or .pdf")] = Path("attention.png"),
    uri: Annotated[str | None, typer.Option(help="MLflow store of the other trials")] = None,
) -> None:
    """Draws the attention of several trials side by side, while each translates a text greedily."""
    if len(runs) >= MOST_RUNS:
        raise SettingsError(f"got {len(runs) + 1} trials; allowed: up to {MOST_RUNS} side by side")
    options = Options("greedy", None, {})
    pictures.check_path(plot)
    with tempfile.TemporaryDirectory() as downloads:
        models = {_name(folder): trained.load(folder)}
        for run in runs:
            place = Path(tempfile.mkdtemp(dir=downloads))
            models[_fresh(run, models)] = trained.found(run, uri=uri, download_to=place)
        sources = {}
        for name, model in models.items():
            try:
                sources[name] = translating.encoded(text, model, options)
            except SettingsError as error:
                raise SettingsError(f"{name}: {first_line(error)}") from None
            _check_drawable(model, sources[name], name, "leave out this trial")
        replace_what_the_terminal_lacks()
        panels = []
        print("RUN\tlog-probability per token\ttokens\tended\ttranslation")
        for name, model in models.items():
            _remark(sources[name], f"{name}: ")
            (translation,) = translating.translate([sources[name]], options, model, model.translator())
            _row(name, translation)
            panels.append(translating.attention(sources[name], translation, model))
    _write(plot, panels, _titles(models))


def _name(folder: Path) -> str:
    """Returns the identity of a trial, or RUN for a folder with another name, such as that of a download."""
    return folder.name if re.fullmatch(r"[0-9a-f]{16}", folder.name) else "RUN"


def _fresh(run: str, names: dict[str, Any]) -> str:
    """Returns a short name of a trial that no earlier one has."""
    name = shortened(one_line(Path(run).name or run), 40)
    return name if name not in names else f"{name} ({len(names) + 1})"


def _titles(models: dict[str, Trained]) -> list[str]:
    """Returns a title for each trial: its name, and the settings of the task in which the trials differ."""
    keys = [key for key in (*Settings.__annotations__, "seed") if key in Settings.model_fields]
    shown = {key: [_value(model.settings, key) for model in models.values()] for key in keys}
    several = {key: values for key, values in shown.items() if len(set(values)) > 1}
    of_each = [[f"{key}={values[place]}" for key, values in several.items()] for place in range(len(models))]
    return [
        "\n".join([name, *values[:MOST_VALUES], *["…"][: len(values) > MOST_VALUES]])
        for name, values in zip(models, of_each, strict=True)
    ]


def _value(settings: Settings, key: str) -> str:
    value = getattr(settings, key)
    return one_line(str(getattr(value, "name", value)))


def _check_drawable(model: Trained, source: Source, name: str, fix: str) -> None:
    """Refuses a picture of a trial without attention, or of a source that is too long."""
    if model.settings.attention == "none":
        what = f"{name} was trained with attention=none, so there are no weights to draw"
        raise SettingsError(f"{what}; {fix}, or name a trial with attention, such as attention=additive")
    if len(source.tokens) > pictures.MOST:
        raise SettingsError(f"the text has {len(source.tokens):,} tokens; a picture shows up to {pictures.MOST}")


def _head() -> None:
    print("number\tlog-probability per token\ttokens\tended\ttranslation")


def _row(name: int | str, one: Translation) -> None:
    ended = "yes" if one.has_ended else "no"
    print(f"{name}\t{one.per_token:.3f}\t{len(one.ids)}\t{ended}\t{one_line(one.text)}", flush=True)


def _remark(source: Source, before: str = "") -> None:
    if note := translating.remark(source):
        print(f"note: {before}{note}", file=sys.stderr)


def _write(plot: Path, panels: Sequence[pictures.Attention], titles: Sequence[str] = ()) -> None:
    if any(len(panel.written) > pictures.MOST for panel in panels):
        print(f"note: the picture shows the first {pictures.MOST} tokens of a translation", file=sys.stderr)
        panels = [
            panel._replace(written=panel.written[: pictures.MOST], weights=panel.weights[: pictures.MOST])
            for panel in panels
        ]
    if not pictures.write(plot, pictures.figure([panels], titles)):
        print("note: the font of the picture lacks some characters; it shows boxes for them", file=sys.stderr)
    print(f"attention written to {one_line(str(plot))}")
