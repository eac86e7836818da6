"""A task with a Keras model: from settings and data to the records of a trial. Only trials import TensorFlow."""

from __future__ import annotations

import abc
import functools
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from src.artifacts import PICTURES as FOLDER
from src.artifacts import STEPS, Artifacts
from src.spec.metric import LOSS, TEST, Metric
from src.spec.record import (
    EVALUATION,
    EXTRAS,
    FILES,
    FINISHED,
    GRAPH,
    NO_LEARNING,
    PICTURES,
    SAMPLES,
    START,
    STEP,
    STOPPED,
    Diverged,
    Record,
    end,
)
from src.spec.section import SettingsError
from src.spec.settings import Settings
from src.spec.task import Data, Task, Trial
from src.terminal.progress import TrialProgress

if TYPE_CHECKING:
    import keras

    from src.training.diagnosis import Evidence
    from src.training.evaluation import Evaluated
    from src.training.fit import Fit
    from src.training.phase import Averaging, Learner, Phase

VALIDATION_SPLIT, TEST_SPLIT = "validation", "test"  # keys of `Phase.held_out`
_log = logging.getLogger(__name__)
S = TypeVar("S", bound=Settings)
D = TypeVar("D", bound=Data)


@dataclass(frozen=True)
class Trained:
    """A trained model with its evaluations.

    Attributes:
      learner: the model, with the weights of its best epoch, and its phase.
      fit: the results of training.
      evaluate: split → function that evaluates the model on it.
      built_s: seconds that building the model took; the training of a fitted model (`Phase.is_fitted`).
    """

    learner: Learner
    fit: Fit
    evaluate: Mapping[str, Callable[[], Evaluated]]
    built_s: float

    @cached_property
    def validation(self) -> Evaluated:
        """The results on the validation split, per example."""
        return self.fit.best or self.evaluate[VALIDATION_SPLIT]()

    @cached_property
    def test(self) -> Evaluated:
        """The results on the test split, per example; the split is read only once."""
        return self.evaluate[TEST_SPLIT]()


class KerasTask(Task[S, D], Generic[S, D]):
    """A task that trains a Keras model.

    A subclass defines the model and its data, and overrides the methods whose defaults do not fit. Every Keras task has
    the metric `loss`, also if its own `metrics` do not list it.
    """

    imports = "TensorFlow"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = cls.__dict__.get("metrics")
        if isinstance(own, tuple) and own and all(getattr(metric, "name", None) != LOSS.name for metric in own):
            cls.metrics = (*own, LOSS)

    @abc.abstractmethod
    def model(self, settings: S, data: D) -> keras.Model:
        """Returns the untrained model, built with Keras' functional interface."""

    def begin(self, model: keras.Model, trial: Trial[S, D]) -> None:
        """Gives an untrained model what the model in `trial.first` has learnt; called if the trial has a first phase.

        By default nothing is taken over.
        """

    @abc.abstractmethod
    def phase(self, settings: S, data: D) -> Phase:
        """Returns the batches, the loss and the measures, for settings without `refusals`."""

    def optimizer(self, model: keras.Model, settings: S) -> keras.optimizers.Optimizer:
        """Returns the optimizer of the model's weights, with all of its variables created."""
        from src.training.update import new_optimizer

        return new_optimizer(model, settings)

    def schedule(self, settings: S, *, steps: int) -> keras.optimizers.schedules.LearningRateSchedule | None:
        """Returns the learning rate of each of the `steps` optimizer steps of training; None for a constant one."""
        from src.training import schedules

        return schedules.schedule(settings, steps=steps)

    def selection(self, settings: S) -> Metric:
        """Returns the metric whose validation value chooses the best epoch.

        By default it is the one that the toggle `select` names, and the task's first metric if it names none.
        """
        name = settings.model_dump(include={"select"}).get("select")
        return next((metric for metric in self.metrics if metric.name == name), self.metrics[0])

    def averaging(self, optimizer: keras.optimizers.Optimizer, settings: S) -> Averaging | None:
        """Returns averages of the weights, which validation, test and the model file get; by default `averaging` says.

        Args:
          optimizer: from `optimizer`; its variables hold the averages.
          settings: settings of the trial.
        """
        from src.training.averages import averages

        return averages(optimizer, settings)

    def kernel(self, settings: S, *, gpus: int) -> str:
        """Returns the kernel that runs the model, the tag `ablation.kernel`: `execution`, or a task's own name."""
        return settings.execution

    def layers(self, model: keras.Model) -> Sequence[Any]:
        """Returns the layers whose activations TensorBoard shows: all but the inputs."""
        import keras

        return [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]

    def causes(self, evidence: Evidence) -> Iterator[str]:
        """Yields what is wrong with a trial, as `cause: finding with numbers; fix`; the first one is recorded.

        It is called after every trial, and yields nothing for a healthy one. Causes that are only likely are for trials
        that learnt nothing.
        """
        from src.training import diagnosis

        return diagnosis.causes(evidence)

    def samples(self, trial: Trial[S, D], trained: Trained) -> Sequence[Mapping[str, Any]]:
        """Returns the details of `samples` records: examples with predictions. By default there are none."""
        return ()

    def epoch_samples(self, trial: Trial[S, D], learner: Learner) -> Iterable[Mapping[str, Any]]:
        """Returns what the model can do after an epoch: samples of plain values; by default there are none.

        TensorBoard shows them, and MLflow gets them as a table. The model has the weights that were validated; the
        method must neither change it nor draw from its random generators. No step's time includes it. It is not called
        with `tracking.pictures=false`.
        """
        return ()

    def epoch_pictures(self, trial: Trial[S, D], learner: Learner) -> Mapping[str, Any]:
        """Returns pictures of the model after an epoch; by default there are none.

        A name that each call returns is one picture with a step for each epoch. `pictures` says what a picture is, and
        `epoch_samples` what the method may do.
        """
        return {}

    def test_values(self, trial: Trial[S, D], trained: Trained) -> Mapping[str, float]:
        """Returns the values of the metrics with `test_only`: name → value. By default there are none.

        A value of another metric replaces what the test measured, as a decision made for the test alone does.
        """
        return {}

    def pictures(self, trial: Trial[S, D], learner: Learner, trained: Trained | None) -> Mapping[str, Any]:
        """Returns what TensorBoard shows as pictures: name → uint8[H, W] (grey) or uint8[H, W, 3] (colour).

        It is called before the first step, where `trained` is None, and after the test, when the model has the weights
        of its best epoch. A name that both calls return is one picture with two steps. MLflow gets the files. By
        default there are none, nor with `tracking.pictures=false`.
        """
        return {}

    def write_files(self, trial: Trial[S, D], trained: Trained) -> Sequence[str]:
        """Writes the files of the trial other than its model and its steps; returns their names.

        By default this is a table with one row per test example: value and weight of each quantity, and predictions
        that are single numbers.
        """
        from src.artifacts import EXAMPLES

        test = trained.test
        weights = {f"{name}_weight": values for name, values in test.weights.items()}
        numbers = {name: values for name, values in test.predictions.items() if values.ndim == 1}
        Artifacts(trial.folder).write_examples({**test.values, **weights, **numbers})
        return [EXAMPLES]

    def check_setup(self) -> None:
        """Refuses a `keras.json` that breaks the import of Keras.

        Raises:
          SettingsError: the file contains a value that Keras does not accept.
        """
        from src.training.startup import refuse_broken_file

        refuse_broken_file()

    def devices(self) -> Sequence[str]:
        """Returns the devices that TensorFlow computes on."""
        from src.training.startup import devices

        return devices()

    def records(self, trial: Trial[S, D]) -> Iterator[Record]:
        """Trains the model, tests it with the weights of its best epoch, and writes its files; yields the records."""
        from src.training.startup import import_tensorflow

        import_tensorflow()
        import tensorflow as tf

        from src.training import clock, model_file
        from src.training.evaluation import evaluators
        from src.training.graph import layers
        from src.training.phase import Learner
        from src.training.startup import fresh_session

        settings = trial.settings
        tags = {"ablation.kernel": self.kernel(settings, gpus=len(tf.config.list_physical_devices("GPU")))}
        yield Record(START, 0, detail={"tags": tags})  # the core may train a first phase now
        clock.reset_peak_memory()
        fresh_session(settings.seed)
        phase, begin = self.phase(settings, trial.data), time.perf_counter()
        model = self._untrained(trial)
        built_s = time.perf_counter() - begin
        if missing := {"validation", "test"} - phase.held_out.keys():
            raise ValueError(f"the phase of task={self.name} has no held_out[{min(missing)!r}]; every task needs both")
        if trial.earlier is None:
            yield Record(GRAPH, 0, detail={"layers": layers(model)})
        optimizer = self._scheduled(self.optimizer(model, settings), phase, settings)
        learner = Learner(
            model, phase, self.metrics, settings, self.averaging(optimizer, settings), self.selection(settings)
        )
        if trial.earlier is None:
            yield from self._pictures(trial, learner, None, step=0)
        trained = Trained(learner, _restored(trial, learner, optimizer), evaluators(learner), built_s)
        steps = [record for record in trial.earlier.records if record.kind == STEP] if trial.earlier else []
        try:
            yield from self._training(trial, trained, optimizer, steps=steps)
        except Diverged as error:
            error.cause = self._cause(trial, learner, steps, has_learnt=False)
            raise
        _ = trained.test  # the peak is that of training and test, without what follows
        trained.fit.peak_mb = max(clock.peak_memory_mb(), trained.fit.peak_mb)
        yield from self._pictures(trial, learner, trained, step=len(trained.fit.timings))
        for detail in self.samples(trial, trained):
            yield Record(SAMPLES, len(trained.fit.timings), detail=dict(detail))
        files = Artifacts(trial.folder)
        files.write_steps([_row(step) for step in steps])
        names = [model_file.write(trial.folder, model), STEPS, *self.write_files(trial, trained)]
        names += [files.write_epoch_samples(trained.fit.samples)] if trained.fit.samples else []
        names += [FOLDER] if (trial.folder / FOLDER).is_dir() else []
        yield self._end(trial, trained, steps=steps, names=names)

    def timed(self, settings: S, data: D, *, every: int) -> Iterator[Record]:
        """Trains without end and yields the kernel and the timed steps; see `Task.timed`.

        Raises:
          SettingsError: the model is fitted, so that no step trains it.
        """
        from src.training.startup import import_tensorflow

        import_tensorflow()
        import keras
        import tensorflow as tf

        from src.training.fit import endless, steps_per_epoch
        from src.training.phase import Learner

        keras.utils.set_random_seed(settings.seed)  # not `fresh_session`: the other variants' models are still trained
        phase = self.phase(settings, data)
        if phase.is_fitted:
            raise SettingsError("it is fitted, not trained in steps; compare time/train_s")
        learner = Learner(self.model(settings, data), phase, self.metrics, settings)
        kernel = self.kernel(settings, gpus=len(tf.config.list_physical_devices("GPU")))
        detail = {"tags": {"ablation.kernel": kernel}, "steps_per_epoch": steps_per_epoch(learner.phase, settings)}
        yield Record(START, 0, detail=detail)
        optimizer = self._scheduled(self.optimizer(learner.model, settings), learner.phase, settings)
        yield from endless(learner, optimizer, every=every)

    def _training(
        self, trial: Trial[S, D], trained: Trained, optimizer: keras.optimizers.Optimizer, *, steps: list[Record]
    ) -> Iterator[Record]:
        """Yields the records of training, and shows them on the terminal.

        Args:
          trial: the trial.
          trained: its `fit` is updated during training.
          optimizer: optimizer of the model.
          steps: step records of earlier processes; the new ones are appended.
        """
        from src.training.fit import planned_steps, train
        from src.training.profile import profiled

        settings, fit, learner = trial.settings, trained.fit, trained.learner
        planned = planned_steps(learner.phase, settings)
        shown = self.layers(learner.model) if settings.tracking.histograms else ()
        samples = functools.partial(self._epoch_samples, trial, learner)
        evaluate = trained.evaluate[VALIDATION_SPLIT]
        pictures = functools.partial(self._epoch_pictures, trial, learner)
        records = train(learner, evaluate, fit, optimizer=optimizer, layers=shown, samples=samples, pictures=pictures)
        if trial.keep is not None:
            records = _keeping(records, trial.keep, fit, variables=[*learner.model.variables, *optimizer.variables])
        records = profiled(records, settings.tracking.profile, trial.folder / EXTRAS, of=planned, timings=fit.timings)
        progress = TrialProgress(
            trial.name,
            steps=planned,
            epochs=settings.epochs,
            metrics=self.metrics,
            is_alone=trial.is_alone,
            done=len(steps),
        )
        with progress:
            for record in records:
                progress.show(record)
                if record.kind == STEP:
                    steps.append(record)
                yield record

    def _untrained(self, trial: Trial[S, D]) -> keras.Model:
        """Returns the model before its training, which begins with what a first phase has learnt."""
        model = self.model(trial.settings, trial.data)
        if trial.first is not None:
            self.begin(model, trial)
        return model

    def _scheduled(self, optimizer: Any, phase: Phase, settings: S) -> Any:
        """Returns the optimizer, with the schedule of its learning rate if the task has one."""
        from src.training.fit import planned_steps

        schedule = self.schedule(settings, steps=planned_steps(phase, settings))
        if schedule is not None:
            optimizer.learning_rate = schedule
        return optimizer

    def _epoch_samples(self, trial: Trial[S, D], learner: Learner) -> list[Mapping[str, Any]]:
        try:
            return list(self.epoch_samples(trial, learner)) if trial.settings.tracking.pictures else []
        except Exception:  # an error in a sample must not fail a trial
            _log.warning("the samples of this epoch are missing", exc_info=True)
            return []

    def _epoch_pictures(self, trial: Trial[S, D], learner: Learner, step: int) -> Mapping[str, str]:
        try:
            pictures = self.epoch_pictures(trial, learner) if trial.settings.tracking.pictures else {}
            return Artifacts(trial.folder).write_pictures(step, pictures)
        except Exception:  # an error in a picture must not fail a trial
            _log.warning("the pictures of this epoch are missing", exc_info=True)
            return {}

    def _pictures(
        self, trial: Trial[S, D], learner: Learner, trained: Trained | None, *, step: int
    ) -> Iterator[Record]:
        """Writes the pictures of the task, and yields the record that names their files."""
        files = Artifacts(trial.folder)
        try:
            if trained is None:
                files.remove_pictures()
            pictures = self.pictures(trial, learner, trained) if trial.settings.tracking.pictures else {}
            named = files.write_pictures(step, pictures)
        except Exception:  # an error in a picture must not fail a trial
            _log.warning("the pictures of step %d are missing", step, exc_info=True)
            return
        if named:
            yield Record(PICTURES, step, detail={FILES: named})

    def _end(self, trial: Trial[S, D], trained: Trained, *, steps: Sequence[Record], names: Sequence[str]) -> Record:
        from src.training import clock
        from src.training.fit import weights_digest
        from src.training.health import is_better_than_chance, judge

        learner, fit = trained.learner, trained.fit
        phase, model = learner.phase, learner.model
        metrics = clock.summary(fit.timings, has_padding=phase.real_positions is not None)
        if phase.is_fitted:
            metrics = {name: value for name, value in metrics.items() if not name.startswith("time/")}
            metrics["time/train_s"] = trained.built_s
        metrics |= {
            "data/batches_per_epoch": float(phase.batches_per_epoch),
            **trained.test.recorded(self.metrics, prefix=TEST),
            **{f"{TEST}{name}": float(value) for name, value in self.test_values(trial, trained).items()},
            "model/parameters": float(sum(math.prod(weight.shape) for weight in model.trainable_variables)),
            "memory/peak_mb": fit.peak_mb,
        }
        traces, expected = int(metrics["data/traces"]), _expected_traces(trial, phase)
        health = judge(learner.chances, fit.epochs, traces=traces, expected=expected)
        tags = {
            "ablation.weights": weights_digest(model),
            "ablation.batches": clock.shapes_digest(fit.timings),
            "ablation.health": health,
            "ablation.best_epoch": f"{fit.best_epoch} of {len(fit.validations)}",
        }
        # The best of several epochs is above chance by luck more often than chance allows for; test is evaluated once.
        has_learnt = health != NO_LEARNING and is_better_than_chance(learner.chances, metrics, TEST)
        cause = self._cause(trial, learner, steps, has_learnt=has_learnt)
        tags |= {"ablation.diagnosis": cause} if cause else {}
        tags |= _stopping_tag(learner, fit) | _profile_tag(fit) | _averaging_tag(learner, steps=len(steps))
        return end(step=len(steps), status=FINISHED, metrics=metrics, tags=tags, artifacts=list(names))

    def _cause(self, trial: Trial[S, D], learner: Learner, steps: Sequence[Record], *, has_learnt: bool) -> str | None:
        """Returns the first cause that is found of what is wrong with a trial; None if nothing is."""
        from src.training.diagnosis import Evidence
        from src.training.startup import fresh_session

        def build() -> keras.Model:
            fresh_session(trial.settings.seed)  # as before training, so that weights without a seed are the same, too
            return self._untrained(trial)

        try:
            return next(self.causes(Evidence(learner, build, steps, has_learnt=has_learnt)), None)
        except Exception:  # an error in the diagnosis must not fail a finished trial
            _log.warning("the search for faults of the trial failed", exc_info=True)
            return None


def _restored(trial: Trial[Any, Any], learner: Learner, optimizer: keras.optimizers.Optimizer) -> Fit:
    """Returns the results of training so far, and restores the variables of the model and the optimizer."""
    from src.training.fit import Fit, restore

    earlier = trial.earlier
    if earlier is None:
        return Fit()
    fit = Fit.of_records(earlier.records, learner.selection)
    restore([*learner.model.variables, *optimizer.variables], earlier.variables)
    with learner.averaged():
        fit.best_weights, fit.peak_mb = list(earlier.best) or learner.model.get_weights(), earlier.peak_mb
    return fit


def _keeping(
    records: Iterator[Record], keep: Callable[..., None], fit: Fit, *, variables: Sequence[Any]
) -> Iterator[Record]:
    """Yields the records of training, and saves a checkpoint after the last record of each epoch."""
    from src.training import clock

    for record in records:
        yield record
        epoch = record.detail["epoch"] if record.kind == EVALUATION else None
        if epoch is not None:
            best = fit.best_weights if fit.best_epoch < epoch else []
            keep(epoch, variables=variables, best=best, peak_mb=max(clock.peak_memory_mb(), fit.peak_mb))


def _expected_traces(trial: Trial[Any, Any], phase: Phase) -> int:
    """Returns how often the training step may be traced or compiled; each process has its own graphs."""
    if trial.settings.retracing != "signature":  # the user asked for retracing
        return sys.maxsize
    processes = 1 + (len(trial.earlier.epochs) if trial.earlier else 0)
    return processes * (2 * phase.shapes if trial.settings.uses_xla else 2)


def _row(step: Record) -> dict[str, Any]:
    """Returns the row of a step in the file of steps."""
    return {
        "step": step.step,
        **step.metrics,
        **{name: value for name, value in step.detail.items() if name != "shapes"},
    }


def _averaging_tag(learner: Learner, *, steps: int) -> dict[str, str]:
    """Returns the tag with the step or the epoch whose weights are the first averaged ones; empty without averages."""
    if learner.averaging is None:
        return {}
    begin = learner.averaging.begins(steps=steps)
    return {"ablation.averaging": f"from {begin} on" if begin else "never began"}


def _stopping_tag(learner: Learner, fit: Fit) -> dict[str, str]:
    """Returns the tag with the epoch that ended training early, and why; empty if nothing did."""
    settings, done = learner.settings, len(fit.validations)
    if not fit.has_stalled(settings) or done == settings.epochs or len(fit.timings) == settings.max_steps:
        return {}
    why = f"val/{learner.selection.name} was best after epoch {fit.best_epoch}, patience={settings.patience}"
    return {STOPPED: f"after epoch {done} of {settings.epochs}: {why}"}


def _profile_tag(fit: Fit) -> dict[str, str]:
    """Returns the tag with the profiled steps, which times per batch leave out; empty if no step was profiled."""
    profiled = [step for step, timing in enumerate(fit.timings, 1) if timing.is_profiled]
    return {"ablation.profiled": f"steps {profiled[0]} to {profiled[-1]}"} if profiled else {}
