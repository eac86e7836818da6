"""What a command line and a study file may set in Hydra: values, the launcher and its options, within size limits.

Hydra instantiates everything below `hydra` that has a `_target_` before a trial is planned. Therefore only the launcher
can be set there. A study file, whose author may be a stranger, can set only launcher options that run no commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from hydra.errors import HydraException

from src import own_code, registry
from src.config.explain import GROUPS, choices, own_data, type_of, unknown_key, without_prefix
from src.spec.section import SettingsError
from src.terminal.errors import nearest
from src.terminal.visible import echoed, is_hidden

MAX_CHARACTERS = 10_000  # of an argument, and of a text in a study file
MAX_DEPTH = 20
MAX_WORDS = 1_000
LAUNCHERS = ("basic", "joblib", "ray", "submitit_local", "submitit_slurm")  # ray_aws runs commands from its config
OPTIONS = {  # launcher options that a study file may set: none of them is a command, an address or a folder
    *("n_jobs", "timeout", "verbose"),
    *("ray.init.num_cpus", "ray.init.num_gpus", "ray.remote.num_cpus", "ray.remote.num_gpus", "ray.remote.max_calls"),
    *(
        "timeout_min",
        "cpus_per_task",
        "gpus_per_node",
        "tasks_per_node",
        "mem_gb",
        "nodes",
        "partition",
        "qos",
        "constraint",
        "gres",
    ),
    *("cpus_per_gpu", "gpus_per_task", "mem_per_gpu", "mem_per_cpu", "account", "signal_delay_s", "array_parallelism"),
}
CALLING = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}  # Hydra's keys for instantiation
NAME = re.compile(r"[\w-]{1,100}")  # Hydra looks for files with these names
MAX_KEY = 200  # characters
KEY = re.compile(r"[\w-]+(?:[./][\w-]+)*")
IN_A_FILE = re.compile(rf"override\s+/({'|'.join(GROUPS)}|hydra/launcher)")
LAUNCHER_ALONE = (
    "of Hydra's settings, only the launcher can be changed here, as in hydra/launcher=joblib hydra.launcher.n_jobs=2"
)
DEFAULTS_ALONE = "allowed: `- override /hydra/launcher: joblib`, and the same for data, task or tracking"


def check_words(words: Sequence[str]) -> None:
    """Checks the arguments of a command line before Hydra reads them.

    Raises:
      SettingsError: an argument is too long or nested too deeply, sets a key that runs code, or has a path as a choice.
    """
    if len(words) > MAX_WORDS:
        raise SettingsError(
            f"the command line has {len(words):,} words; allowed: up to {MAX_WORDS:,}. Use a study file instead"
        )
    parser = OverridesParser.create()
    for word in words:
        _check_text(word, echoed(word))
        if _depth(word) > MAX_DEPTH:
            raise SettingsError(f"{echoed(word)}: more than {MAX_DEPTH} nested brackets; write a simpler value")
        try:
            override = parser.parse_override(word)
        except HydraException:  # Hydra reports it later
            continue
        except RecursionError:
            raise SettingsError(f"{echoed(word)}: too long to be parsed; use a study file instead") from None
        _check_override(echoed(word), override)


def check_choices(overrides: Sequence[str]) -> None:
    """Checks the overrides of one variant.

    Raises:
      SettingsError: the choice of a group is a path, which Hydra would read, or longer than a file name can be.
    """
    for override in overrides:
        group, _, value = override.partition("=")
        choice = value.strip("'\"")
        if group in GROUPS and (set(choice) & set("/\\") or len(choice) > MAX_KEY):
            raise SettingsError(wrong_choice(group, choice, choices(group), own_data(group)))


def wrong_choice(group: str, choice: str, options: Sequence[str], own: Sequence[str] = ()) -> str:
    """Returns the error for an unknown choice of a config group, with the nearest option or how to read your own data.

    Args:
      group: the config group.
      choice: the unknown choice.
      options: the allowed choices.
      own: the choices that read the user's own data.
    """
    text = f"{group}: got {echoed(choice)!r}; allowed: {', '.join(options)}"
    if near := nearest(echoed(choice), options):
        return f"{text}. Did you mean {group}={near}?"
    return f"{text}. For your own data, write {' or '.join(own)} with {group}.path=PATH" if own else text


def check_file(content: Any) -> None:
    """Checks the plain values of a study file before Hydra reads them.

    Raises:
      SettingsError: an interpolation, a text that is too long, or a Hydra setting other than the launcher's options.
    """
    for place, value in _leaves(content, ""):
        parts = place.split(".")
        for text in (*parts, value):
            if isinstance(text, str):
                _check_text(text, f"{echoed(place)}: {echoed(text)}" if text is value else echoed(place))
        if called := CALLING & set(parts):
            raise SettingsError(
                f"{echoed(place)}: {called.pop()} is not allowed; a study file contains plain values only"
            )
        if parts[0] == "hydra":
            _check_option(place, value)
        _check_task(place, value)
        _check_command(place)
        _check_own_code(place, value)
    if not isinstance(content, dict):
        return
    if group := next((name for name in GROUPS if isinstance(content.get(name), str)), None):
        choice = echoed(str(content[group]))
        raise SettingsError(
            f"{group}: got {choice}; a study file chooses it by `defaults: [override /{group}: {choice}]`"
        )
    if "defaults" in content:
        _check_defaults(content["defaults"])


def _check_text(text: str, shown: str) -> None:
    if "${" in text:
        raise SettingsError(f"{shown}: interpolation is not allowed; write the value itself instead of ${{…}}")
    if len(text) > MAX_CHARACTERS:
        raise SettingsError(f"{shown}: {len(text):,} characters; allowed: up to {MAX_CHARACTERS:,}. Shorten it")
    if any(character not in "\n\t" and is_hidden(character) for character in text):
        raise SettingsError(
            f"{shown}: control characters and bytes that are not UTF-8 are not allowed; remove them, or rename the file"
        )


def _check_override(shown: str, override: Override) -> None:
    key = str(override.key_or_group)
    values = list(_texts(override._value))
    if override.package is not None:
        raise SettingsError(f"{shown}: packages are not allowed; write it without the @, as in data=table")
    if not KEY.fullmatch(key):
        raise SettingsError(f"{shown}: not a valid key; `python -m src.run --help` lists all keys")
    if len(key) > MAX_KEY:
        raise unknown_key(key)
    called = CALLING & {*re.split(r"[./]", key), *values}
    if called:
        raise SettingsError(f"{shown}: {called.pop()} is not allowed; use plain values only")
    if override.is_force_add() and type_of(key.partition(".")[0]):
        raise SettingsError(f"{shown}: write {echoed(key)}=… without the ++")
    if re.split(r"[./]", key)[0] == "hydra":
        _check_hydra(shown, key, values)
    elif "/" in key:
        raise SettingsError(
            f"{shown}: there is no config group {echoed(key)!r}; allowed: {', '.join(GROUPS)}, hydra/launcher"
        )
    elif key == "experiments" and (path := next((text for text in values if not NAME.fullmatch(text)), None)):
        last = echoed(path.rpartition("/")[2] or path)
        got = f"a path that ends in {last!r}" if "/" in path else repr(last)
        name = last.removesuffix(".yaml")
        fix = (
            f". Did you mean +experiments={name}?" if NAME.fullmatch(name) and name != last and "/" not in path else ""
        )
        raise SettingsError(f"+experiments: got {got}; allowed: the name of a file in the folder experiments/{fix}")
    elif key in GROUPS:
        check_choices([f"{key}={text}" for text in values])


def _check_hydra(shown: str, key: str, values: Sequence[str]) -> None:
    if key.replace("/", ".").startswith(("hydra.mode", "hydra.sweeper")):
        raise SettingsError(f"{shown.partition('=')[0]} cannot be changed here; remove it")
    if key == "hydra/launcher":
        wrong = next((name for name in values if not NAME.fullmatch(name) or name == "ray_aws"), None)
        if wrong is not None:
            raise SettingsError(f"hydra/launcher: got {echoed(wrong)!r}; allowed: {', '.join(LAUNCHERS)}")
    elif key != "hydra.launcher" and not key.startswith("hydra.launcher."):
        raise SettingsError(f"{shown}: {LAUNCHER_ALONE}")
    elif any("\n" in text for text in values):
        raise SettingsError(f"{shown}: a launcher option must be one line; remove the line breaks")


def _check_option(place: str, value: Any) -> None:
    """Checks one value below `hydra` in a study file."""
    _, _, option = place.removeprefix("hydra").partition("launcher.")
    if not place.startswith("hydra.launcher.") or option not in OPTIONS:
        raise SettingsError(
            f"{echoed(place)}: a study file may select a launcher (`defaults: [override /hydra/launcher: joblib]`) "
            "and set only n_jobs and a trial's resources, such as mem_gb, below hydra.launcher; "
            "set the rest on the command line"
        )
    if isinstance(value, str) and not re.fullmatch(r"[\w.:,@%+-]*", value):
        raise SettingsError(
            f"{place}: got {echoed(value)!r}; "
            "allowed in a study file: a number, or a name of letters, digits and .:,@%+-_"
        )


def _check_task(place: str, value: Any) -> None:
    """Checks one value of a study file: its task must be registered, because an import runs the code of the module."""
    key = _toggle_at(place)
    if key.startswith("task."):
        raise SettingsError(f"{echoed(place)}: {without_prefix(key)}")
    if key == "task" and isinstance(value, str) and registry.is_place(value):
        names = ", ".join(choices("task"))
        raise SettingsError(
            f"{echoed(place)}: got {echoed(value)}; a study file names a registered task; allowed: {names}"
        )


def _check_command(place: str) -> None:
    """Checks that the command line names the task whose command a study file holds, because a stranger may write it."""
    key = _toggle_at(place)
    for task in registry.available():
        if key in task.settings.COMMANDS and not registry.is_named(task.name):
            raise SettingsError(
                f"{echoed(place)}: this study file runs a command, which only the command line can allow; "
                f"read it, then add task={task.name}"
            )


def _check_own_code(place: str, value: Any) -> None:
    """Checks that the command line names the code that a study file holds, because an import runs the module."""
    if not (isinstance(value, str) and registry.is_place(value)) or own_code.is_allowed(value):
        return
    key = _toggle_at(place)
    if any(key in task.settings.places() for task in registry.available()):
        got, module = echoed(value), echoed(value.partition(":")[0])
        raise SettingsError(
            f"{echoed(place)}: got {got}; this study file names code, which only the command line can allow; "
            f"read {module}, then add {key}={got}"
        )


def _toggle_at(place: str) -> str:
    """Returns the toggle whose value stands at a dotted place of a study file."""
    return re.sub(r"^plan\.(levels|reference|variants|intervals|exclude)\.", "", place)


def _check_defaults(defaults: Any) -> None:
    for entry in defaults if isinstance(defaults, list) else [defaults]:
        if entry == "_self_":
            continue
        key, choice = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (None, None)
        match = IN_A_FILE.fullmatch(key) if isinstance(key, str) else None
        if not match:
            raise SettingsError(f"defaults: got {echoed(str(entry))}; {DEFAULTS_ALONE}")
        group = match[1]
        options = choices(group) if group in GROUPS else LAUNCHERS
        if choice not in options:
            raise SettingsError(f"defaults: got {echoed(str(choice))!r} for /{group}; allowed: {', '.join(options)}")


def _depth(word: str) -> int:
    """Returns the maximal nesting of brackets, quoted ones included: the parser's time grows with its square."""
    depth = deepest = 0
    for character in word:
        depth += (character in "[{(") - (character in "]})" and depth > 0)
        deepest = max(deepest, depth)
    return deepest


def _texts(value: Any) -> Iterator[str]:
    """Yields the texts in a parsed value, including the keys of mappings."""
    if isinstance(value, QuotedString):
        yield value.text
    elif isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | ChoiceSweep):
        for inner in value if isinstance(value, list) else value.list:
            yield from _texts(inner)


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yields the dotted place and the value of each leaf; an empty mapping or list counts as a leaf."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _leaves(inner, place)
    else:
        yield place, value
