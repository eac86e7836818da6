"""Error messages for wrong keys and values: the value, the allowed values and the fix."""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo

from src import registry
from src.spec.renamed import instead_of
from src.spec.section import TAGS, Section, UnknownKey, Value, as_typed
from src.spec.settings import Plan, Settings, Tracking
from src.terminal.errors import nearest, plain_name
from src.terminal.values import choices_of, has_text, in_words, nearest_choice, nearest_number, plain_types
from src.terminal.visible import echoed

GROUPS = ("task", "data", "tracking")  # Hydra's config groups
TRACKING = ("mlflow", "offline")
OF_TOGGLES = (  # keys of a plan
    *("levels", "reference", "seeds", "variants", "intervals", "exclude", "linked", "within", "rungs"),
    "selection_seeds",
)
SECTIONS: dict[str, type[Section]] = {"plan": Plan, "tracking": Tracking}
MEMBERS = ("bool", "constrained-int", "constrained-str", "literal[")  # pydantic's types of a key that allows several
Kind = type[Settings]  # the settings class of the command's task; None for the default task
LISTED = "`python -m src.run --help` lists all keys"


def choices(group: str, kind: Kind | None = None) -> list[str]:
    """Returns the choices of a config group, of one task or, without `kind`, of all tasks."""
    if group == "task":
        return list(registry.usable())
    if group == "tracking":
        return list(TRACKING)
    kinds = [kind] if kind else [task.settings for task in registry.available()]
    return list(dict.fromkeys(name for each in kinds for name in each.corpora()))


def own_data(group: str, kind: Kind | None = None) -> list[str]:
    """Returns the choices that read the user's own data: the last corpus with a path, of one task or of each."""
    kinds = [kind] if kind else [task.settings for task in registry.available()] if group == "data" else []
    last = ([name for name, options in each.corpora().items() if "path" in options.model_fields][-1:] for each in kinds)
    return list(dict.fromkeys(f"{group}={name}" for names in last for name in names))


def allowed(key: str, kind: Kind | None = None) -> str:
    """Returns the allowed values of a dotted key in words: `true or false`, `an integer from 1 to 64`."""
    if key in GROUPS:
        return "one of " + ", ".join(choices(key, kind))
    field = _field(key, kind)
    return "see `python -m src.run --help`" if field is None else in_words(field)


def takes_text(key: str) -> bool:
    """Returns whether a dotted key of any task takes text, or text or null."""
    if key in GROUPS:
        return False
    field = _field(key)
    return key.startswith(TAGS) or (field is not None and has_text(field.annotation))


def type_of(key: str) -> type | None:
    """Returns the type of a dotted toggle's values except null: bool, float (also integers) or str; None if unknown."""
    field = _field(key.removeprefix("task."))  # older trials have this prefix
    if field is None:
        return None
    types = {str} if key in GROUPS else plain_types(field.annotation)
    return bool if types == {bool} else str if types & {str, bool} else float


def is_open(key: str) -> bool:
    """Returns whether users name the last part of a dotted key, such as that of a tag or of a toggle of their own."""
    return key.startswith(TAGS) or any(task.settings.is_open(key) for task in registry.available())


def is_command(key: str) -> bool:
    """Returns whether the text of a key is run as a command."""
    return any(key in task.settings.COMMANDS for task in registry.available())


def unknown_key(key: str, kind: Kind | None = None) -> UnknownKey:
    """Returns the error for a key that a task lacks, with what to write instead, or with the nearest key."""
    key = echoed(key)
    kind = kind or registry.task(registry.DEFAULT).settings
    if key in GROUPS and (key != "data" or kind.corpora()):
        return UnknownKey(f"{key} is a config group and is chosen by name, as in {key}={choices(key, kind)[0]}")
    head = key.partition(".")[0]
    if head == "task":
        return UnknownKey(f"unknown key {key!r}; {without_prefix(key)}")
    if written := instead_of(key):
        return UnknownKey(f"unknown key {key!r}; {written}")
    if others := _other_tasks(head, kind):
        return UnknownKey(others)
    return UnknownKey(f"unknown key {key!r}; {_key_fix(key, kind) or _nearest(key, kind)}")


def without_prefix(key: str) -> str:
    """Returns what to write in place of `task.X`, the form of earlier versions."""
    name = echoed(key.removeprefix("task."))
    return (
        f"the toggles of a task have no prefix; write {name}"
        if name != "name"
        else "a task is chosen by its name, as in task=NAME"
    )


def name_of(kind: Kind) -> str:
    """Returns the name of the task to which a settings class belongs."""
    return str(kind.model_fields["task"].default)


def validation_error(detail: Any, kind: Kind) -> str:
    """Returns one of pydantic's errors in one line: the value, the allowed values and the fix."""
    path = [str(part) for part in detail["loc"]]
    if not path:
        return f"settings: got {echoed(repr(detail['input']))}; allowed: keys with values"
    if (
        path[0] in GROUPS and len(path) > 2 and path[1] in choices(path[0])
    ):  # the choice of a group, between the group and the key
        del path[1]
    if path[:1] == ["plan"] and path[1:2] and path[1] in OF_TOGGLES:
        path = path[:2]
    if path[-1].startswith(MEMBERS) and path[:2] != ["tracking", "tags"]:
        del path[-1]
    key = ".".join(path)
    if kind.is_open(key):
        return _wrong_name_or_value(key, detail, kind)
    if path[:2] == ["tracking", "tags"] and (path[-1] == "[key]" or isinstance(detail["input"], dict)):
        return (
            f"{echoed(key.removesuffix('.[key]'))}: the name of a tag is up to 200 letters, digits, spaces, "
            f"., _, / and -, and begins with neither mlflow. nor ablation.; try {TAGS}owner=ada"
        )
    if detail["type"] == "extra_forbidden":
        return str(unknown_key(key, kind))
    if is_choice(detail) or key in GROUPS:
        key, choice = path[0], detail.get("ctx", {}).get("tag")
        for task in registry.available():
            if choice in task.settings.corpora():
                return f"{key}={choice} is for task={task.name}; add task={task.name}, or choose {allowed(key, kind)}"
        return f"{key} is chosen by name: {allowed(key, kind)}, as in {key}={choices(key, kind)[0]}"
    return _wrong_value(key, detail["input"], kind, is_no_text=detail["type"] == "string_type")


def _wrong_name_or_value(key: str, detail: Any, kind: Kind) -> str:
    """Returns the error for a key that the user named, or for its value."""
    mapping = next(name for name in kind.open_keys() if key.startswith(f"{name}."))
    name = key.removeprefix(f"{mapping}.").split(".")[0]
    if key.endswith(".[key]"):
        rule = "up to 50 letters, digits and _, beginning with a letter"
        return f"{mapping}: got the name {echoed(name)!r}; allowed: {rule}"
    if detail["type"] == "extra_forbidden":
        return f"unknown key {echoed(key)!r}; {mapping} takes {allowed(mapping, kind)}"
    return f"{mapping}.{echoed(name)}: got {echoed(repr(detail['input']))}; allowed: {allowed(mapping, kind)}"


def is_choice(detail: Any) -> bool:
    """Returns whether one of pydantic's errors is about the choice of a group; errors about its keys follow from it."""
    group, *rest = detail["loc"] or ("",)
    return group in GROUPS and (detail["type"].startswith("union_tag") or rest == ["name"])


def _wrong_value(key: str, got: Any, kind: Kind, *, is_no_text: bool) -> str:
    shown = echoed(repr(got))
    if key in SECTIONS:
        keys = ", ".join(SECTIONS[key].model_fields)
        return f"{key}: got {shown}; set its keys one by one, as in plan.design=grid (keys: {keys})"
    if is_no_text and got is not None:
        text = echoed(as_typed(got))
        return f"{key}: got {text}, which is not text; put it in quotes: '{key}=\"{text}\"'"
    if isinstance(got, list) and got and all(isinstance(value, Value) for value in got):
        fix = f"To train each value, write {echoed(key)}={echoed(','.join(map(as_typed, got)))}"
        return f"{echoed(key)}: got the list {shown}; allowed: {allowed(key, kind)}. {fix}"
    return f"{echoed(key)}: got {shown}; allowed: {allowed(key, kind)}{_suggestion(key, got, kind)}"


def example(key: str, kind: Kind | None = None) -> str:
    """Returns an example value of a dotted key, as on the command line: the field's first, or its default."""
    if key in GROUPS:
        return choices(key, kind)[0]
    field = _field(key, kind)
    if field is None:
        return "…"
    if field.examples:
        return str(field.examples[0])
    return "{}" if isinstance(field.default, Section) else as_typed(field.default)


def _suggestion(key: str, got: Any, kind: Kind) -> str:
    """Returns the allowed value that is nearest to the given one, or an example if none is near and none is listed."""
    field = _field(key, kind)
    if field is None:
        return ""
    options = choices_of(field)
    near = nearest_choice(str(got), options) if options else nearest_number(got, field)
    if near is not None:
        return f". Did you mean {near}?"
    if key in kind.places():
        meant = [f"{name}={got}" for name, other in kind.model_fields.items() if str(got) in choices_of(other)]
        return f". Did you mean {' or '.join(meant)}?" if meant else f". NAME of my_module.py is {key}=my_module:NAME"
    return "" if options else f". For example {key}={example(key, kind)}"


def _other_tasks(head: str, kind: Kind) -> str:
    """Returns a text with the other tasks that have a top-level key which this task lacks; empty if there are none."""
    having = [task.name for task in registry.available() if head in task.settings.model_fields]
    if head in kind.model_fields or not having:
        return ""
    *others, last = [f"task={name}" for name in having]
    listed = f"{', '.join(others)} and {last}" if others else last
    return f"task={name_of(kind)} has no {head}; {listed} {'has' if len(having) == 1 else 'have'} it"


def _key_fix(key: str, kind: Kind) -> str:
    """Returns the fix for a key that exists elsewhere or that another override removed; empty for other keys."""
    section, _, name = key.partition(".")
    if section == "plan" and name.split(".")[0] in ("levels", "reference"):
        added = key if name.count(".") else f"{key}.TOGGLE"
        return f"add it with a +: +{added}={'[VALUE, …]' if name.startswith('levels') else 'VALUE'}"
    corpora = kind.corpora() if section == "data" else {}
    having = [choice for choice, options in corpora.items() if name in options.model_fields]
    if having and len(having) < len(corpora):
        owners = f"{section}={' or '.join(having)}"
        return f"only {owners} has it; write both for all trials, as in {section}={having[-1]} {key}=…"
    if having or key in dotted_keys(kind):
        return "an override with ~ removed it; leave that out"
    return ""


def _nearest(key: str, kind: Kind) -> str:
    """Returns the key that the user probably meant, by its alias or its spelling, or where the keys are listed."""
    keys = sorted(dotted_keys(kind))
    section, _, name = key.rpartition(".")
    top = [each for each in keys if "." not in each]
    inside = [each for each in keys if section and each.startswith(f"{section}.")]
    if inside:
        names = [each.removeprefix(f"{section}.") for each in inside]
        near = nearest(name, names)
        return f"did you mean {section}.{near}?" if near else f"{section} has the keys {', '.join(names)}"
    meant = kind.aliases().get(plain_name(name))
    for task in registry.available() if not meant else ():
        if (alias := task.settings.aliases().get(plain_name(name))) and (others := _other_tasks(alias, kind)):
            return others
    by_last = [each for each in keys if plain_name(each.rpartition(".")[2]) == plain_name(name)]
    near = meant or min(by_last, key=len, default=None) or nearest(name, top) or nearest(key, keys)
    own = [f"{mapping}.{key}" for mapping in kind.open_keys() if "." not in key and mapping in kind.toggles()]
    near = " or ".join(filter(None, [*own, near]))
    return f"did you mean {near}?" if near else LISTED


def dotted_keys(kind: Kind) -> set[str]:
    """Returns every key of a task, including the options of all its corpora: `depth`, `plan.metric`, `data.limit`."""
    sections = SECTIONS | kind.sections()
    keys = {name for name in kind.model_fields if name not in sections} | {"tracking"}
    keys |= {f"{section}.{name}" for section, options in sections.items() for name in options.model_fields}
    keys |= {f"data.{name}" for options in kind.corpora().values() for name in options.model_fields}
    return {key for key in keys if not key.endswith(".name")}


def _field(key: str, kind: Kind | None = None) -> FieldInfo | None:
    """Returns the field of a dotted key, of `kind` or else of the first task that has it; None for an unknown key."""
    head, _, rest = key.partition(".")
    if rest and head in SECTIONS:
        return SECTIONS[head].model_fields.get(rest)
    kinds = [*([kind] if kind else []), *(task.settings for task in registry.available())]
    if not rest:
        return next((each.model_fields[head] for each in kinds if head in each.model_fields), None)
    options = [each for settings in kinds if head == "data" for each in settings.corpora().values()]
    options += [settings.sections()[head] for settings in kinds if head in settings.sections()]
    return next((each.model_fields[rest] for each in options if rest in each.model_fields), None)
