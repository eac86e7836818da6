"""What the command line says without training: its help, and one or two lines for whatever was typed wrong."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException

from src.admission import LAUNCHERS, wrong_choice
from src.errors import first_line
from src.paths import REPOSITORY
from src.settings import (
    GROUPS,
    TAGS,
    Integration,
    Plan,
    Settings,
    SettingsError,
    Table,
    Tracking,
    allowed,
    as_typed,
    nearest,
    takes_text,
    unknown_key,
)
from src.visible import echoed

EXAMPLES = """\
Trains recurrent sequence models: one trial per combination of settings, each
logged to MLflow and TensorBoard.

  python -m src.run                                      one trial, the defaults
  python -m src.run -m masking=true,false cell=lstm,gru  all 4 combinations
  python -m src.run -m cell=lstm,gru seed='range(0,8)'   2 variants × 8 seeds
  python -m src.run data=table data.path=mine.csv        your own texts
  python -m src.run data.limit=500 epochs=1              a quick try
  python -m src.run task=integration                     noise: is its sum > 0?
  python -m src.run -m +experiments=smoke                a file of experiments/
  python -m src.run -m plan_only=true cell=lstm,gru      plan, train nothing
  python -m src.status                                   how far studies are
"""
END = """\
key=a,b and key='range(0,8)' are lists; all combinations are trained.
--cfg job prints the composed configuration (with --resolve; with --package KEY
only a part of it), --info what Hydra read, --hydra-help Hydra's own flags."""
COLUMN = 33  # where the meaning of a key begins
ONE_STUDY_FILE = "only one study file per command; write +experiments=NAME, and run the others with their own commands"


def help_text(*, width: int | None = None) -> str:
    """Returns what `--help` prints: examples, then every key with its default, meaning and allowed values.

    Args:
      width: characters of a line; None breaks none, for programs that search it.
    """
    lines = [EXAMPLES, "Settings (key=default):"]
    for name, field in Settings.model_fields.items():
        if name in GROUPS:
            lines += _row(name, next(iter(GROUPS[name])), field.description, width)
        elif name != "plan":
            lines += _row(name, field.default, field.description, width)
    for title, section, kind in (
        ("Tracking:", "tracking", Tracking),
        ("The study:", "plan", Plan),
        ("data=table (some also apply to other corpora):", "data", Table),
        ("task=integration:", "task", Integration),
    ):
        lines.append(f"\n{title}")
        for name, field in kind.model_fields.items():
            lines += _row(f"{section}.{name}", field.default, field.description, width) if name != "name" else []
    return "\n".join([*lines, "", END])


def with_quotes(words: Sequence[str]) -> list[str]:
    """Returns a command line with its names and texts quoted where Hydra's grammar has another idea of them.

    `study=2024_01` is 202401 to it, and data.path=1e3,true a number and a truth value.

    Raises:
      SettingsError: a text of which nobody can tell whether it is null.
    """
    parser = OverridesParser.create()
    return [_with_quotes(word, parser) for word in words]


def _with_quotes(word: str, parser: OverridesParser) -> str:
    if re.match(rf"{re.escape(TAGS)}[\w.-]+=", word):
        word = f"++{word}"  # their names are the user's
    found = re.fullmatch(r"(\+{0,2}([\w.-]+)=)(.*)", word, re.DOTALL)
    if not found or not (takes_text(found[2]) or found[2] == "experiments"):
        return word
    begin, key, typed = found.groups()
    try:
        override = parser.parse_override(word)
    except HydraException:  # Hydra says so itself
        return word
    if override.value_type == ValueType.SIMPLE_CHOICE_SWEEP and not re.search(r"[\[\]{}()'\"\\]", typed):
        return begin + ",".join(_as_text(key, one.strip(), parser.parse_override(f"{key}={one}").value()) for one in typed.split(","))
    if override.value_type == ValueType.ELEMENT:
        return begin + _as_text(key, typed.strip(), override.value())
    return word


def _as_text(key: str, typed: str, read: Any) -> str:
    """Returns a text as typed, in quotes where Hydra reads something else."""
    if read is None and typed != "null":
        raise SettingsError(f"{key}: got {typed}; write null for no value, or '{key}=\"{typed}\"' for the text")
    return f'"{typed}"' if isinstance(read, bool | int | float) else typed


def is_from_composing(error: Exception) -> bool:
    """Returns whether Hydra or OmegaConf raised this, and not a trial."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals["__name__"].split(".")[0] in ("hydra", "omegaconf", "antlr4")


def explain(error: Exception) -> str:
    """Returns in one or two lines what Hydra could not compose, what is allowed, and the fix."""
    group, _, choice = (getattr(error, "missing_cfg_file", None) or "").rpartition("/")
    if isinstance(error, MissingConfigException) and group.startswith("experiments/"):
        return f"+experiments: got a path that ends in {choice!r}; allowed: the name of a file in the folder experiments/"
    if isinstance(error, MissingConfigException) and group:
        choice = echoed(choice)
        choices = list(GROUPS.get(group, {}) or (LAUNCHERS if group == "hydra/launcher" else error.options or []))
        if group == "experiments":
            near = nearest(choice, choices)
            fix = f"did you mean +experiments={near}?" if near else f"experiments/ has {', '.join(choices)}"
            return f"+experiments: there is no study file {choice!r}; {fix}"
        return wrong_choice(group, choice, choices)
    if isinstance(error, OverrideParseException):
        typed = repr(echoed(str(error.override)))
        key, _, value = str(error.override).partition("=")
        if re.fullmatch(r"\w+", key) and not value and (REPOSITORY / "experiments" / f"{key}.yaml").is_file():
            return f"{typed} is a study file; write +experiments={key}"
        if takes_text(key) and value and not set(value) & {"'", '"'}:
            return f"{typed} cannot be parsed; put text into two pairs of quotes: '{key}=\"{echoed(value)}\"'"
        how = "write no spaces around = or after commas, and put special characters into two pairs of quotes: 'data.path=\"a b.csv\"'"
        return f"{typed} cannot be parsed as KEY=VALUE; {how}"
    if unknown := re.search(r"(?:Could not override|Key|Could not delete from config\.) '([^']+)'", str(error)):
        return _unknown(unknown[1])
    return _in_our_words(error)


def _unknown(key: str) -> str:
    if key == "experiments":
        return "a study file is added with a +: +experiments=NAME"
    if key == "hydra.launcher.n_jobs":
        return "hydra.launcher.n_jobs needs the joblib launcher; add hydra/launcher=joblib"
    if key.startswith("hydra."):
        return f"the launcher has no key {echoed(key)!r}; `python -m src.run --cfg hydra` lists its keys, +{key}=… adds one"
    return str(unknown_key(key))


def _in_our_words(error: Exception) -> str:
    text = str(error)
    if text.startswith("Config group override"):
        return f"{', '.join(GROUPS)} are chosen by name, as in data={next(iter(GROUPS['data']))}; {text}"
    if match := re.search(r"An item is already at '([^']+)'", text):
        return f"{echoed(match[1])} already exists; write {echoed(match[1])}=… without the +"
    if match := re.search(r"Ambiguous value for argument '([^=]+)", text):
        return f"{echoed(match[1])}: --cfg and --info show one trial; give {echoed(match[1])} one value"
    if text.startswith("Multiple values for experiments"):
        return ONE_STUDY_FILE
    if text.startswith("Error merging override") and error.__cause__ is not None:
        typed = echoed(text.removeprefix("Error merging override "))
        return f"{typed}: {first_line(error.__cause__)}; `python -m src.run --help` lists what is allowed"
    return first_line(error)


def _row(key: str, default: Any, description: str | None, width: int | None) -> list[str]:
    begin, text = f"  {f'{key}={as_typed(default)}':<{COLUMN - 3}} ", f"{description} [{allowed(key)}]"
    if width is None:
        return [begin + text]
    lines = textwrap.wrap(text, max(20, width - COLUMN), break_long_words=False, break_on_hyphens=False)
    if len(begin) > COLUMN:
        return [begin.rstrip(), *(" " * COLUMN + line for line in lines)]
    return [begin + lines[0], *(" " * COLUMN + line for line in lines[1:])]
