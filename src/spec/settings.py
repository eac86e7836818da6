"""The settings of every task: the core's toggles, tracking, and the plan of a study."""

from __future__ import annotations

import functools
import typing
import warnings
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from src.spec.section import MODEL_NAME, STUDY_NAME, Count, Place, Section, Seed, TagName, Value, Width

with warnings.catch_warnings():
    warnings.filterwarnings(
        "ignore", "Field name", UserWarning
    )  # the field `register` shadows a method of abstract classes

    class Tracking(Section):
        """Where a trial is logged. The journal in the trial's folder is always written."""

        name: Literal["mlflow", "offline"] = "mlflow"
        uri: str | None = Field(None, description="MLflow tracking URI; null = a SQLite file at the repository root")
        every_n_batches: Count = Field(1, description="log every n-th optimizer step to MLflow and TensorBoard")
        histograms: bool = Field(
            True, description="log weights, activations and gradients to TensorBoard after every epoch"
        )
        pictures: bool = Field(
            True,
            description="show what the task draws or writes in TensorBoard: before the first step, after every epoch, "
            "and after the test",
        )
        projector: bool = Field(False, description="show the trained embedding in TensorBoard's projector")
        profile: bool | Count | None = Field(
            None,
            description="profile this many optimizer steps for TensorBoard, from the 11th on; true = 10; "
            "null and false = none",
        )
        system_metrics: bool = Field(False, description="log processor and memory usage every 10 seconds")
        tags: dict[TagName, str] = Field(
            {}, description="MLflow tags of your own on each trial, as in tracking.tags.owner=ada"
        )
        note: str | None = Field(
            None, max_length=2_000, description="note of your own in the MLflow description of each trial"
        )
        register: str | None = Field(  # type: ignore[assignment]
            None,
            pattern=MODEL_NAME,
            max_length=200,
            description="register each trial's model under this name in MLflow",
        )


class Interval(Section):
    """Bounds between which `plan.design=random` and `halving` draw the values of a toggle, both included."""

    low: float = Field(description="least value")
    high: float = Field(description="greatest value")
    log: bool = Field(False, description="draw uniformly in the logarithm")
    integer: bool = Field(False, description="draw whole numbers")


class Plan(Section):
    """The design, levels, seeds and comparison of a study."""

    question: str | None = Field(None, description="question that the study answers")
    claim: str | None = Field(None, description="published claim about the answer, and its source")
    design: Literal[
        "grid",
        "leave_one_out",
        "add_one_in",
        "cumulative",
        "one_at_a_time",
        "fractional",
        "path",
        "random",
        "halving",
        "listed",
    ] = Field("grid", description="how the variants are derived from the reference and the levels")
    levels: dict[str, list[Value]] = Field(
        {}, description="values of each toggle; the first one is the reference value"
    )
    reference: dict[str, Value] = Field(
        {}, description="reference value of a toggle, if it is not the first of its levels"
    )
    variants: list[dict[str, Value]] = Field(
        [], description="design=listed: what each variant changes in the reference"
    )
    intervals: dict[str, Interval] = Field(
        {},
        description="design=random, halving: toggles whose values are drawn between two bounds; the reference has the "
        "middle",
        json_schema_extra={"words": "{toggle: {low, high, log, integer}}"},
    )
    exclude: list[dict[str, Value]] = Field(
        [], description="combinations of values that are left out", examples=["'[{optimizer:sgd,accumulate:2}]'"]
    )
    linked: list[list[str]] = Field(
        [],
        description="toggles whose levels go together: the first with the first, the second with the second, …",
        examples=["'[[optimizer,learning_rate]]'"],
    )
    within: list[str] = Field(
        [],
        description="toggles whose values are not compared: each variant is compared with the one that has its values "
        "of these and the reference's of all others; empty = all are compared with the reference",
    )
    seeds: list[Seed] = Field([], description="seeds that every variant is trained with; empty = only the key seed")
    max_seeds: int | None = Field(
        None,
        ge=3,
        le=1_000,
        description="largest number of seeds: the study is looked at several times, and trains more seeds only of "
        "variants that are not decided yet; null = the seeds are fixed",
    )
    looks: list[int] = Field([], description="max_seeds: numbers of seeds to look at; empty = about four")
    stopping: Literal["fixed", "spending", "always_valid"] | None = Field(
        None,
        description="how looks share the error of 5 %: one look; spent up to max_seeds; or valid at any number of "
        "seeds; null = spending with max_seeds, else fixed",
    )
    spread: float | str | None = Field(
        None,
        description="standard deviation of a paired difference, or a study to take it from, for what the plan can "
        "detect; null = the median of earlier studies of the task",
    )
    metric: str | None = Field(
        None,
        pattern=r"^[\w/.-]+$",
        max_length=100,
        description="metric by which variants are compared, such as test/loss, time/epoch_s or steps_to; "
        "null = the task's first metric on the test split (design=path always selects by its validation value)",
    )
    also: list[Annotated[str, Field(pattern=r"^[\w/.-]+$", max_length=100)]] = Field(
        [], description="further recorded metrics that the tables show as columns, such as data/traces"
    )
    margin: float | None = Field(
        None, gt=0, description="largest irrelevant difference in the metric; null = the metric's own, if any"
    )
    threshold: float | None = Field(
        None, description="validation value of the task's first metric to reach, for steps_to; null = its own"
    )
    resolution: int = Field(
        4, ge=3, le=15, description="design=fractional: resolution (higher = more effects separated, more trials)"
    )
    sample: int = Field(
        20,
        ge=2,
        le=100_000,
        description="design=random, and halving with intervals: number of variants; every seed trains the same ones",
    )
    rungs: list[Count] = Field(
        [],
        description="design=halving: budgets of the rungs before the last, as in [1,3]; the last has the value of the "
        "budget's key; empty = a ninth and a third of it, and so on as far as candidates and budget go",
    )
    budget_key: str = Field(
        "epochs",
        pattern=r"^[\w.]+$",
        max_length=100,
        description="design=halving: key whose value a rung sets, such as epochs, max_steps or toggles.steps",
    )
    selection_seeds: list[Seed] = Field(
        [1_000],
        min_length=1,
        description="design=halving: seeds of the rungs before the last; none of the seeds that judge",
    )
    budget_minutes: float | None = Field(
        None, gt=0, description="begin no trial after this many minutes; null = no limit"
    )
    timing: bool = Field(
        False, description="time the variants in turn once all trials have finished, as `python -m src.timing` does"
    )


class Settings(Section):
    """Everything that determines the result of one trial and how it is recorded; a task adds toggles in a subclass.

    Attributes:
      ADDED: toggles that a later version added, with the value that earlier trials had. At this value the identity
        omits them, so that old identities stay valid. A subclass adds its own.
      ALIASES: name of a key in other programs, lower case without underscores → name here. A subclass adds its own.
      COMMANDS: toggles whose text is run as a command. The command line takes it as written, and a study file may set
        it only if the command line names the task.
    """

    COMMANDS: ClassVar[tuple[str, ...]] = ()

    ADDED: ClassVar[Mapping[str, Value]] = {
        "accumulate": 1,
        "drop_remainder": False,
        "retracing": "signature",
        "momentum": 0.0,
        "schedule": "constant",
        "warmup": 0.0,
        "averaging": "none",
        "ema_momentum": 0.99,
    }
    ALIASES: ClassVar[Mapping[str, str]] = {
        "lr": "learning_rate",
        "stepsize": "learning_rate",
        "bs": "batch_size",
        "batch": "batch_size",
        "nepochs": "epochs",
        "numepochs": "epochs",
        "steps": "max_steps",
        "opt": "optimizer",
        "optim": "optimizer",
        "lrschedule": "schedule",
        "scheduler": "schedule",
        "lrscheduler": "schedule",
        "decay": "schedule",
        "warmupshare": "warmup",
        "warmupratio": "warmup",
        "warmupsteps": "warmup (a share of all steps)",
        "useema": "averaging=ema",
        "ema": "averaging=ema",
        "swa": "averaging=swa",
        "weightaveraging": "averaging",
        "emadecay": "ema_momentum",
        "earlystopping": "patience",
        "earlystop": "patience",
        "gradclip": "clip_norm",
        "gradientclipping": "clip_norm",
        "gradientaccumulation": "accumulate",
        "xla": "execution=xla",
        "jit": "execution=xla",
        "eager": "execution=eager",
        "runeagerly": "execution=eager",
        "graph": "execution=graph",
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
    NOT_TOGGLES: ClassVar[tuple[str, ...]] = (
        "study",
        "tracking",
        "plan",
        "rerun",
        "retry_failed",
        "fail_fast",
        "plan_only",
        "evaluate_every",
        "checkpoint",
    )

    task: str = Field(description="what the model learns (config group)")

    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field("adam", description="Keras optimizer")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum of the optimizer sgd")
    learning_rate: float = Field(1e-3, gt=0, le=1_000, description="learning rate of the optimizer")
    schedule: Literal["constant", "linear", "cosine", "step"] = Field(
        "constant",
        description="learning rate over the steps of training: constant, to 0 linearly or along a cosine, or divided "
        "by 10 after one half and after three quarters of them",
    )
    warmup: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the steps in which the learning rate first rises linearly; before schedule",
        json_schema_extra={"words": "a share of all steps, from 0 to below 1"},
        examples=["0.1"],
    )
    batch_size: Width = Field(64, description="examples per batch, B")
    accumulate: Width = Field(1, description="number of batches whose gradients make up one optimizer step")
    drop_remainder: bool = Field(False, description="drop batches smaller than batch_size, in training only")
    epochs: int = Field(3, ge=1, le=10_000, description="passes over the training split")
    max_steps: Count | None = Field(None, description="stop after this many optimizer steps; null = after all epochs")
    patience: Count | None = Field(
        None,
        description="stop after this many epochs without a better validation value of the metric that chooses the "
        "epoch; null = train all epochs",
    )
    averaging: Literal["none", "ema", "swa"] = Field(
        "none",
        description="weights of validation, test and the model file: ema = exponential moving average over the steps, "
        "swa = mean after each epoch of the second half",
    )
    ema_momentum: float = Field(0.99, ge=0, lt=1, description="averaging=ema: share of the average that a step keeps")
    clip_norm: float | None = Field(None, gt=0, description="clip gradients to this global norm; null = no clipping")
    execution: Literal["eager", "graph", "graph_epoch", "xla"] = Field(
        "graph",
        description="eager = the training step runs in Python, graph = the step is one graph, "
        "graph_epoch = all steps of an epoch are one graph, xla = the step is compiled (once per input shape)",
    )
    retracing: Literal["signature", "relaxed", "per_shape"] = Field(
        "signature",
        description="when tf.function retraces: "
        "signature = never, relaxed = until shapes generalise, per_shape = always",
    )
    seed: Seed = Field(0, description="seed of initial weights, data order and dropout, in separate random streams")

    evaluate_every: Count | None = Field(
        None, description="also validate every n optimizer steps; null = only after each epoch"
    )
    checkpoint: Literal["epoch", "none"] = Field(
        "epoch",
        description="epoch = save the state after each epoch and resume a killed trial from it; none = restart it",
    )
    study: str = Field(
        "adhoc",
        pattern=STUDY_NAME,
        max_length=100,
        description="name of the study, of its MLflow experiment and of its folder in outputs/",
    )
    tracking: Tracking = Field(Tracking.model_construct(), description="where trials are logged (config group)")
    # `model_construct` does not build the validator, which help and most errors do not need.
    plan: Plan = Field(Plan.model_construct(), description="design, levels and seeds of the study")
    rerun: bool = Field(False, description="retrain finished trials; they replace the earlier ones")
    retry_failed: bool = Field(False, description="retrain failed trials")
    fail_fast: bool = Field(False, description="begin no further trial after one has failed")
    plan_only: bool = Field(False, description="print the plan and exit")

    @property
    def uses_xla(self) -> bool:
        """Whether XLA compiles the training step."""
        return self.execution == "xla"

    @classmethod
    def toggles(cls) -> tuple[str, ...]:
        """Returns the keys that a study may vary: the task, its data, the task's own toggles, then the core's."""
        own = [name for name in cls._own() if name not in cls.sections()]
        keys = ["task", *(["data"] if "data" in cls.model_fields else []), *own]
        keys += [name for name in Settings.model_fields if name not in (*cls.NOT_TOGGLES, "task")]
        return tuple(keys)

    @classmethod
    def sections(cls) -> dict[str, type[Section]]:
        """Returns the task's own sections, key → class; they say how a trial runs, and are no toggles."""
        kinds = {name: cls.model_fields[name].annotation for name in cls._own()}
        return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}

    @classmethod
    def open_keys(cls) -> tuple[str, ...]:
        """Returns the mappings whose keys the user names: `toggles` for keys such as `toggles.width`."""
        own = [name for name in cls._own() if typing.get_origin(cls.model_fields[name].annotation) is dict]
        inner = [
            f"{section}.{name}"
            for section, kind in cls.sections().items()
            for name, field in kind.model_fields.items()
            if typing.get_origin(field.annotation) is dict
        ]
        return (*own, *inner)

    @classmethod
    def is_open(cls, key: str) -> bool:
        """Returns whether the user names the last part of a dotted key: `toggles.width`, but not `toggles`."""
        return any(key.startswith(f"{name}.") for name in cls.open_keys())

    @classmethod
    @functools.cache
    def places(cls) -> tuple[str, ...]:
        """Returns the toggles that take `module:NAME`, code of the user, perhaps beside other values."""
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        return tuple(name for name, kind in kinds.items() if Place in typing.get_args(kind))

    @classmethod
    def _own(cls) -> list[str]:
        return [name for name in cls.model_fields if name not in Settings.model_fields and name != "data"]

    @classmethod
    def corpora(cls) -> dict[str, type[Section]]:
        """Returns the corpora of the task, name → options; empty for a task without the key `data`."""
        if "data" not in cls.model_fields:
            return {}
        kind = cls.model_fields["data"].annotation
        return {option.model_fields["name"].default: option for option in typing.get_args(kind) or (kind,)}

    @classmethod
    def added(cls) -> dict[str, Value]:
        """Returns `ADDED` of this class and its base classes."""
        return cls._joined("ADDED")

    @classmethod
    def aliases(cls) -> dict[str, str]:
        """Returns `ALIASES` of this class and its base classes, without aliases of keys that this class lacks."""
        return {
            name: key
            for name, key in cls._joined("ALIASES").items()
            if not key.isidentifier() or key in cls.model_fields
        }

    @classmethod
    def _joined(cls, name: str) -> dict[str, Any]:
        joined: dict[str, Any] = {}
        for part in reversed(cls.__mro__):
            joined |= vars(part).get(name, {})
        return joined
