"""The only conversion from untyped configuration to the typed settings of a task.

Defaults live only in the settings classes. This module gives them to Hydra: the files in `conf/` hold only deltas.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src import registry
from src.config import explain
from src.spec.renamed import as_today
from src.spec.section import Section, SettingsError, UnknownKey, as_typed
from src.spec.settings import Settings, Tracking
from src.terminal.visible import echoed

S = TypeVar("S", bound=Settings)


def core_schema() -> dict[str, Any]:
    """Returns the defaults of the core's keys other than config groups, for Hydra's ConfigStore."""
    return {name: value for name, value in _defaults(Settings).items() if name not in explain.GROUPS}


def task_schema(name: str) -> dict[str, Any]:
    """Returns the defaults of a task's own keys and its default corpus, for `task=name` in Hydra's ConfigStore."""
    kind = registry.task(name).settings
    core = core_schema()
    values = {key: value for key, value in _defaults(kind).items() if key not in explain.GROUPS}
    own = {key: value for key, value in values.items() if key not in core or value != core[key]}
    corpus = next(iter(kind.corpora()), None)
    return {"defaults": [{"override /data": corpus}, "_self_"], "task": name, **own}


def corpus_schemas() -> dict[str, dict[str, Any]]:
    """Returns the defaults of the corpora of all tasks, name → options, for Hydra's ConfigStore."""
    kinds = [task.settings for task in registry.available()]
    return {name: {**_defaults(options), "name": name} for kind in kinds for name, options in kind.corpora().items()}


def tracking_schemas() -> dict[str, dict[str, Any]]:
    """Returns the defaults of each choice of `tracking`, for Hydra's ConfigStore."""
    return {name: {**_defaults(Tracking), "name": name} for name in explain.TRACKING}


def _defaults(kind: type[Section]) -> dict[str, Any]:
    """Returns the plain default of every key, without building the slow validators of the classes."""
    values = {name: field.get_default(call_default_factory=True) for name, field in kind.model_fields.items()}
    return {name: _defaults(type(value)) if isinstance(value, Section) else value for name, value in values.items()}


def from_hydra(cfg: DictConfig) -> Settings:
    """Returns the composed configuration as validated settings of its task.

    Raises:
      SettingsError: an unknown or removed key, a wrong type, or an invalid value.
    """
    ours = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        values = typing.cast(dict[str, Any], OmegaConf.to_container(ours, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise SettingsError(f"{error.full_key or 'configuration'}: {str(error).splitlines()[0]}") from None
    if "task" not in values:
        raise SettingsError(
            f"~task removes a key that every trial needs; leave it out, or write task={registry.DEFAULT} instead"
        )
    settings = checked(values)
    missing = set(_flat(settings.model_dump())) - set(_flat(values))
    removed = sorted(key for key in missing if not settings.is_open(key))
    if removed:
        section = removed[0].split(".")[0]
        name = removed[0] if section in values else section
        default = explain.example(name, type(settings))
        raise SettingsError(
            f"~{name} removes a key that every trial needs; leave it out, or write {name}={default} instead"
        )
    return settings


def checked(values: Mapping[str, Any]) -> Settings:
    """Returns validated settings of a task from plain values; missing keys get their defaults.

    Raises:
      SettingsError: no such task, an unknown key, a wrong type, or an invalid value.
    """
    if not isinstance(values, Mapping):
        raise SettingsError(f"settings: got {echoed(repr(values))}; allowed: keys with values")
    values = _migrated(values)
    name = values.get("task", registry.DEFAULT)
    if not isinstance(name, str):
        raise SettingsError(f"task: got {name!r}; allowed: {explain.allowed('task')}")
    kind = registry.task(name).settings
    try:
        settings: Settings = kind.model_validate(values)
        return settings
    except pydantic.ValidationError as error:
        details = [detail for detail in error.errors() if explain.is_choice(detail)] or error.errors()
        wrong = [detail for detail in details if detail["type"] != "extra_forbidden"]
        text = "\n".join(dict.fromkeys(explain.validation_error(detail, kind) for detail in details[:2]))
        raise (SettingsError if wrong else UnknownKey)(text) from None


def of_file(values: Any) -> Settings:
    """Returns the settings in a trial's file, which an earlier version may have written.

    Raises:
      SettingsError: as `checked`.
    """
    return checked(as_today(values) if isinstance(values, Mapping) else values)


def edited(settings: S, changes: Mapping[str, Any]) -> S:
    """Returns validated settings with some keys changed.

    Args:
      settings: the original settings.
      changes: dotted key (`depth`, `data.limit`) → plain value.

    Raises:
      SettingsError: an unknown key, a wrong type, or an invalid value.
    """
    values = settings.model_dump()
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = values
        for section in sections:
            if not isinstance(place.get(section), dict):
                raise explain.unknown_key(key, type(settings))
            place = place[section]
        if last not in place and not settings.is_open(key):
            raise explain.unknown_key(key, type(settings))
        place[last] = value
    return typing.cast(S, checked(values))


def differences(settings: Settings) -> dict[str, Any]:
    """Returns the toggles, except the seed, that differ from their task's default: dotted key → value.

    The defaults of a corpus' options are those of that corpus.
    """
    kind = type(settings)
    corpus = {"data": type(settings.data)()} if kind.corpora() else {}  # type: ignore[attr-defined]
    defaults = _flat(kind(**corpus).model_dump()) | {"task": registry.DEFAULT}
    if corpus:
        defaults["data.name"] = next(iter(kind.corpora()))
    values = settings.model_dump()
    ours = _flat({key: values[key] for key in kind.toggles() if key != "seed"})
    return {key.removesuffix(".name"): value for key, value in ours.items() if defaults.get(key) != value}


def label(values: Mapping[str, Any]) -> str:
    """Returns toggles in the form of the command line: `depth=2 dropout=0.5`."""
    return " ".join(f"{key}={as_typed(value)}" for key, value in values.items())


def described(changes: Mapping[str, Any]) -> str:
    """Returns `differences` as a name, with the last part of each path; `defaults` without differences."""
    short = {key: Path(value).name if key.endswith("path") and value else value for key, value in changes.items()}
    return label(short) or "defaults"


def _migrated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns plain settings in the current layout; earlier versions had the task's toggles in a section `task`."""
    task = values.get("task")
    if not isinstance(task, dict):
        return dict(values)
    kind = registry.task(str(task.get("name", registry.DEFAULT))).settings
    others = {key: value for key, value in values.items() if key in kind.model_fields}
    return {
        **others,
        **{key: value for key, value in task.items() if key != "name"},
        "task": task.get("name", registry.DEFAULT),
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
