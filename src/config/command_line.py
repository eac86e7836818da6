"""The command line's help, and its errors of one or two lines."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException

from src import registry
from src.config.admission import LAUNCHERS, wrong_choice
from src.config.explain import (
    GROUPS,
    SECTIONS,
    Kind,
    allowed,
    choices,
    example,
    is_command,
    is_open,
    own_data,
    takes_text,
    unknown_key,
)
from src.config.overrides import quoted
from src.paths import REPOSITORY
from src.spec.section import Section, SettingsError, as_typed
from src.spec.settings import Settings
from src.spec.task import Task
from src.terminal.errors import first_line, nearest
from src.terminal.visible import echoed

ABOUT = """\
Trains one trial per combination of settings, each logged to MLflow and
TensorBoard.
"""
EXAMPLES = {  # for every task
    "": "one trial, the defaults",
    "-m seed='range(0,8)' learning_rate=0.001,0.01": "2 variants × 8 seeds",
    "-m +experiments=smoke": "a file of experiments/",
    "-m plan_only=true +experiments=smoke": "plan, train nothing",
}
END = """\
key=a,b and key='range(0,8)' are lists; all combinations are trained.
--cfg job prints the composed configuration (with --resolve; with --package KEY
only a part of it), --info what Hydra read, --hydra-help Hydra's own flags."""
COLUMN = 33  # where the description of a key begins
ONE_STUDY_FILE = "only one study file per command; write +experiments=NAME, and run the others with their own commands"


def help_text(task: str = registry.DEFAULT, *, width: int | None = None) -> str:
    """Returns the text of `--help`: examples, then each key of a task with default, description and allowed values.

    Args:
      task: name of the task.
      width: characters per line; None wraps no lines, for programs that search the text.

    Raises:
      SettingsError: there is no such task.
    """
    chosen = registry.task(task)
    kind = chosen.settings
    examples = {
        **dict(itertools.islice(EXAMPLES.items(), 1)),
        **chosen.examples,
        **dict(itertools.islice(EXAMPLES.items(), 1, None)),
    }
    commands = [f"  python -m src.run {words}" for words in examples]
    column = max(map(len, commands)) + 2
    lines = [
        ABOUT,
        *(f"{command:<{column}}{about}" for command, about in zip(commands, examples.values(), strict=True)),
    ]
    lines.append(f"{'  python -m src.status':<{column}}progress of studies")
    lines += ["", "Tasks (--help task=NAME lists the settings of one):"]
    lines += [line for name, each in registry.usable().items() for line in _entry(f"task={name}", each.about, width)]
    core = [name for name in Settings.model_fields if name not in ("task", "plan", "tracking")]
    own = [name for name in kind.model_fields if name not in (*Settings.model_fields, *kind.sections())]
    lines += [f"\nSettings of task={chosen.name} (key=default):", *_rows(kind, own, width)]
    for section, options in kind.sections().items():
        lines += _rows_of(options, section, width)
    if type(chosen).metrics_of is Task.metrics_of:  # otherwise the settings declare them
        names = ", ".join(metric.name for metric in chosen.metrics)
        lines += [f"\nMetrics of task={chosen.name}:", *_entry("plan.metric=test/NAME", names, width)]
    lines += ["\nSettings of every task:", *_rows(kind, [*core, "tracking"], width)]
    for title, section in (("Tracking:", "tracking"), ("The study:", "plan")):
        lines += [f"\n{title}", *_rows_of(SECTIONS[section], section, width)]
    for name, options in kind.corpora().items():
        if set(options.model_fields) - {"name", "limit"}:
            lines += [f"\ndata={name}:", *_rows_of(options, "data", width)]
    return "\n".join([*lines, "", END])


def _rows(kind: type[Settings], names: Sequence[str], width: int | None) -> list[str]:
    """Returns the help lines of a task's settings."""
    return [
        line
        for name in names
        for line in _row(name, example(name, kind), kind.model_fields[name].description, width, kind)
    ]


def _rows_of(options: type[Section], section: str, width: int | None) -> list[str]:
    """Returns the help lines of the keys in a section."""
    lines = []
    for name, field in options.model_fields.items():
        lines += _row(f"{section}.{name}", as_typed(field.default), field.description, width) if name != "name" else []
    return lines


def for_several(words: Sequence[str], tasks: Sequence[str]) -> list[str]:
    """Returns the arguments of a command that compares tasks, in a form that Hydra composes with the default task.

    Before the sweep, Hydra composes the keys with a single value, and would refuse a key that the default task lacks.

    Args:
      words: the user's arguments.
      tasks: the tasks that they name.
    """
    if len(tasks) < 2:
        return list(words)
    default = registry.task(registry.DEFAULT).settings.model_fields
    others = {key for task in tasks for key in registry.task(task).settings.model_fields if key not in default}
    return [f"++{word}" if word.partition("=")[0].split(".")[0] in others else word for word in words]


def with_quotes(words: Sequence[str]) -> list[str]:
    """Returns a command line with quotes around texts that Hydra's grammar would convert to another type.

    Hydra reads `study=2024_01` as 202401, and data.path=1e3,true as a number and a boolean.

    Raises:
      SettingsError: a text that may also mean null.
    """
    parser = OverridesParser.create()
    return [_with_quotes(word, parser) for word in words]


def _with_quotes(word: str, parser: OverridesParser) -> str:
    if (named := re.match(r"([\w.-]+)=", word)) and is_open(named[1]):
        word = f"++{word}"  # the user chooses this name
    command = re.fullmatch(r"(\+{0,2}([\w.-]+)=)(.+)", word, re.DOTALL)
    if command and is_command(command[2]) and command[3][0] + command[3][-1] not in ("''", '""'):
        return command[1] + quoted(command[3])
    match = re.fullmatch(r"(\+{0,2}([\w.-]+)=)(.*)", word, re.DOTALL)
    if not match or not (takes_text(match[2]) or match[2] == "experiments"):
        return word
    begin, key, value = match.groups()
    try:
        override = parser.parse_override(word)
    except HydraException:  # Hydra reports it later
        return word
    if override.value_type == ValueType.SIMPLE_CHOICE_SWEEP and not re.search(r"[\[\]{}()'\"\\]", value):
        return begin + ",".join(
            _as_text(key, text.strip(), parser.parse_override(f"{key}={text}").value()) for text in value.split(",")
        )
    if override.value_type == ValueType.ELEMENT:
        return begin + _as_text(key, value.strip(), override.value())
    return word


def _as_text(key: str, text: str, parsed: Any) -> str:
    """Returns a text unchanged, or in quotes if Hydra parses it as another type."""
    if parsed is None and text != "null":
        raise SettingsError(f"{key}: got {text}; write null for no value, or '{key}=\"{text}\"' for the text")
    return f'"{text}"' if isinstance(parsed, bool | int | float) else text


def is_from_composing(error: Exception) -> bool:
    """Returns whether Hydra or OmegaConf raised the error, and not a trial."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals["__name__"].split(".")[0] in ("hydra", "omegaconf", "antlr4")


def explained(error: Exception, kind: Kind | None = None) -> SettingsError:
    """Returns Hydra's error in one or two lines: the value, the allowed values and the fix.

    Args:
      error: Hydra's error.
      kind: the settings class of the command's task.
    """
    unknown = re.search(r"(?:Could not override|Key|Could not delete from config\.) '([^']+)'", str(error))
    if unknown and not isinstance(error, MissingConfigException | OverrideParseException):
        return _unknown(unknown[1], kind)
    return SettingsError(_explained(error, kind))


def _explained(error: Exception, kind: Kind | None) -> str:
    group, _, choice = (getattr(error, "missing_cfg_file", None) or "").rpartition("/")
    if isinstance(error, MissingConfigException) and group.startswith("experiments/"):
        return (
            f"+experiments: got a path that ends in {choice!r}; allowed: the name of a file in the folder experiments/"
        )
    if isinstance(error, MissingConfigException) and group:
        choice = echoed(choice)
        options = (
            choices(group, kind)
            if group in GROUPS
            else list(LAUNCHERS if group == "hydra/launcher" else error.options or [])
        )
        if group == "experiments":
            near = nearest(choice, options)
            fix = f"did you mean +experiments={near}?" if near else f"experiments/ has {', '.join(options)}"
            return f"+experiments: there is no study file {choice!r}; {fix}"
        if group == "data" and not options:
            return f"unknown key 'data': the task reads no data; remove data={choice}"
        return wrong_choice(group, choice, options, own_data(group, kind))
    if isinstance(error, OverrideParseException):
        return _unparsed(str(error.override))
    return _reworded(error)


def _unparsed(override: str) -> str:
    shown = repr(echoed(override))
    key, _, value = override.partition("=")
    if re.fullmatch(r"\w+", key) and not value and (REPOSITORY / "experiments" / f"{key}.yaml").is_file():
        return f"{shown} is a study file; write +experiments={key}"
    if takes_text(key) and value and not set(value) & {"'", '"'}:
        return f"{shown} cannot be parsed; put text into two pairs of quotes: '{key}=\"{echoed(value)}\"'"
    return (
        f"{shown} cannot be parsed as KEY=VALUE; write no spaces around = or after commas, "
        "and put special characters into two pairs of quotes: 'data.path=\"a b.csv\"'"
    )


def _unknown(key: str, kind: Kind | None) -> SettingsError:
    if key == "experiments":
        return SettingsError("a study file is added with a +: +experiments=NAME")
    if key == "hydra.launcher.n_jobs":
        return SettingsError("hydra.launcher.n_jobs needs the joblib launcher; add hydra/launcher=joblib")
    if key.startswith("hydra."):
        return SettingsError(
            f"the launcher has no key {echoed(key)!r}; "
            f"`python -m src.run --cfg hydra` lists its keys, +{key}=… adds one"
        )
    return unknown_key(key, kind)


def _reworded(error: Exception) -> str:
    text = str(error)
    if text.startswith("Config group override"):
        return f"{', '.join(GROUPS)} are chosen by name, as in data={choices('data')[0]}; {text}"
    if match := re.search(r"An item is already at '([^']+)'", text):
        return f"{echoed(match[1])} already exists; write {echoed(match[1])}=… without the +"
    if text.startswith("Multiple values for experiments"):
        return ONE_STUDY_FILE
    if match := re.match(r"Multiple values for (\w+)\.", text):
        return f"{match[1]} has one value; write {match[1]}=NAME without a +, or {match[1]}=a,b for a study of several"
    if match := re.search(r"Ambiguous value for argument '([^=]+)", text):
        return f"{echoed(match[1])}: --cfg and --info show one trial; give {echoed(match[1])} one value"
    if text.startswith("Error merging override") and error.__cause__ is not None:
        shown = echoed(text.removeprefix("Error merging override "))
        return f"{shown}: {first_line(error.__cause__)}; `python -m src.run --help` lists what is allowed"
    return first_line(error)


def _row(
    key: str, default: str, description: str | None, width: int | None, kind: type[Settings] | None = None
) -> list[str]:
    return _entry(f"{key}={default}", f"{description or ''} [{allowed(key, kind)}]".lstrip(), width)


def _entry(name: str, text: str, width: int | None) -> list[str]:
    """Returns a key or a name with its description beside it, in lines of at most `width` characters."""
    begin = f"  {name:<{COLUMN - 3}} "
    if width is None:
        return [begin + text]
    lines = textwrap.wrap(text, max(20, width - COLUMN), break_long_words=False, break_on_hyphens=False)
    if len(begin) > COLUMN:
        return [begin.rstrip(), *(" " * COLUMN + line for line in lines)]
    return [begin + lines[0], *(" " * COLUMN + line for line in lines[1:])]
