"""The adapter from Hydra's sweeper interface to `src.study`."""

from __future__ import annotations

import itertools
import math
import os
import urllib.parse
import uuid
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, ValueType
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from hydra_plugins.ablation_sweeper import launchers, leftovers
from src import paths, registry
from src.config import command_line
from src.config.admission import check_choices
from src.config.command_line import ONE_STUDY_FILE
from src.config.explain import GROUPS, choices
from src.config.overrides import quoted
from src.config.settings import from_hydra
from src.spec.section import TAGS, SettingsError
from src.spec.settings import Interval, Settings
from src.terminal.errors import first_line
from src.terminal.visible import echoed

if TYPE_CHECKING:
    from src.study.plan import Row

ConfigStore.instance().store(
    group="hydra/sweeper",
    name="study",
    node={"_target_": "hydra_plugins.ablation_sweeper.sweeper.StudySweeper"},
    provider="ablation",
)


class StudySweeper(Sweeper):
    """Plans a study from `a=1,2 b=x,y` or a study file, and trains it with Hydra's launcher."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps Hydra's context and configuration for the sweep."""
        self._context, self._task_function, self._config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """Plans and runs the study that the overrides describe.

        Raises:
          SettingsError: an invalid override or value.
          TrialsFailed: a trial failed.
        """
        from src.study import planning, sweep
        from src.study.job import Sweep

        fixed: dict[str, str] = {}
        swept: dict[str, list[Any]] = {}
        intervals: dict[str, Interval] = {}
        parser = OverridesParser.create(config_loader=self._context.config_loader)
        for override in parser.parse_overrides(arguments):
            key = override.get_key_element()
            if not key.startswith(f"++{TAGS}"):
                key = key.removeprefix("++")  # `command_line.for_several` adds it
            shown = echoed(str(override.input_line))
            if key in GROUPS and "schema_" in str(override.input_line):
                raise SettingsError(f"{shown}: allowed: {', '.join(choices(key))}")
            fixed.pop(key, None)
            swept.pop(key, None)
            intervals.pop(key, None)
            if isinstance(override._value, IntervalSweep):
                _refuse_list(override)
                intervals[key] = _interval(override._value, shown)
            elif override.is_sweep_override():
                swept[key] = _values(override, parser)
                if not swept[key]:
                    raise SettingsError(f"{shown}: the list is empty; write {key}=a,b or {key}='range(0,8)'")
                if any(isinstance(value, list | dict) for value in swept[key]):
                    raise SettingsError(f"{shown}: only plain values can be swept, as in {key}=a,b")
            else:
                fixed[key] = str(override.input_line)
        study = planning.study(fixed, swept, compose=self._compose, intervals=intervals)
        with open_dict(self._config):
            self._config.hydra.launcher = launchers.configured(self._config.hydra.launcher)
        launcher = self._config.hydra.launcher
        parent = os.getpid() if launchers.is_joblib(launcher) else 0
        # Between two trials, joblib replaces a worker whose memory has grown; its warning suggests a lost trial.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)
        self._sweep = Sweep(launchers.workers(launcher), name=uuid.uuid4().hex, parent=parent)
        if not parent or study.settings.plan_only:
            sweep.run(study, launch=self._launch, sweep=self._sweep)
            return
        leftovers.begin()
        try:
            sweep.run(study, launch=self._launch, sweep=self._sweep)
        finally:
            leftovers.end()

    def _compose(self, overrides: list[str]) -> Settings:
        """Returns the settings that overrides compose.

        Raises:
          SettingsError: a key that their task lacks, or an invalid value.
        """
        check_choices(overrides)
        try:
            return from_hydra(self._context.config_loader.load_sweep_config(self._config, overrides))
        except Exception as error:
            if not command_line.is_from_composing(error):
                raise
            tasks = [
                override.removeprefix("task=").strip("'") for override in overrides if override.startswith("task=")
            ]
            raise command_line.explained(error, registry.task([registry.DEFAULT, *tasks][-1]).settings) from None

    def _launch(self, rows: Sequence[Row]) -> dict[str, str]:
        """Trains one trial per row with the launcher; returns identity → error of trials that never began.

        The journals have the outcomes of the trials that began.
        """
        from src.study.job import CHANGES, ENDED, IDENTITY, POSITION, VARIANT

        trials = [(row, row.trial) for row in rows if row.trial]
        folder = str(paths.study_folder(trials[0][1].settings.study))
        with open_dict(self._config):
            self._config.hydra.sweep.dir = folder  # for the launcher; each job composes its own configuration
        launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=self._task_function, config=self._config
        )
        if self._sweep.parent:
            launcher.joblib.update(launchers.of_workers(self._sweep.parent))
        variables = self._sweep.as_environment()
        shared = [
            f"hydra.sweep.dir={quoted(folder)}",
            *(f"+hydra.job.env_set.{name}={quoted(value)}" for name, value in variables.items()),
        ]
        uri = trials[0][1].settings.tracking.uri
        if uri and paths.absolute(uri) != uri:  # workers may run in other folders
            shared.append(f"tracking.uri={quoted(paths.absolute(uri))}")
        overrides = [
            [
                *row.overrides,
                *shared,
                f"+hydra.job.env_set.{POSITION}='{row.position}'",
                f"+hydra.job.env_set.{VARIANT}='{urllib.parse.quote(row.called)}'",  # quoted: a $ would interpolate
                *([] if row.changes is None else [f"+hydra.job.env_set.{CHANGES}='{urllib.parse.quote(row.changes)}'"]),
                f"+hydra.job.env_set.{ENDED}={quoted(row.ended)}",
                f"+hydra.job.env_set.{IDENTITY}={quoted(trial.identity)}",
                f"hydra.sweep.subdir={trial.identity}",
            ]
            for row, trial in trials
        ]
        jobs = launcher.launch(overrides, initial_job_idx=0)
        return {
            trial.identity: first_line(job._return_value)
            for (_, trial), job in zip(trials, jobs, strict=True)
            if job.status == JobStatus.FAILED
        }


def _values(override: Override, parser: OverridesParser) -> list[Any]:
    """Returns the values of a list or range, up to the number of trials that a plan may have."""
    texts = _texts(override)
    if not override.is_range_sweep():
        return [parser.parse_override(text).value() for text in texts]
    return list(override.sweep_iterator())  # already numbers: parsing a hundred thousand texts takes minutes


def _interval(sweep: IntervalSweep, shown: str) -> Interval:
    """Returns the bounds in `interval(1e-4, 1e-2)`, `tag(log, interval(…))` or `int(interval(…))`."""
    if unknown := sorted(sweep.tags - {"log"}):
        raise SettingsError(f"{shown}: unknown tag {unknown[0]!r}; allowed: tag(log, interval(LOW, HIGH))")
    low, high = sweep.start, sweep.end
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        raise SettingsError(f"{shown}: write both bounds, as in interval(1e-4, 1e-2)")
    return Interval(low=low, high=high, log="log" in sweep.tags, integer=isinstance(low, int))


def _refuse_list(override: Override) -> None:
    """Raises `SettingsError` for a list or an interval of a key that is no toggle."""
    key, shown = override.get_key_element(), echoed(str(override.input_line))
    if key.lstrip("+") == "experiments":
        raise SettingsError(f"{shown}: {ONE_STUDY_FILE}")
    if key.lstrip("+").startswith("plan."):
        raise SettingsError(f"{shown}: write the list in brackets: {key}=[…]")
    if key.startswith(f"++{TAGS}"):
        name = key.removeprefix("++")
        raise SettingsError(
            f"{shown.removeprefix('++')}: a tag is one text; quote it if it contains a comma: '{name}=\"…\"'"
        )
    if key.split(".")[0] in Settings.NOT_TOGGLES:
        raise SettingsError(
            f"{shown}: {key} is not a toggle and has one value for all trials; "
            "`python -m src.run --help` lists the toggles"
        )


def _texts(override: Override) -> list[str]:
    from src.study.designs import MAX_TRIALS

    _refuse_list(override)
    key, shown = override.get_key_element(), echoed(str(override.input_line))
    if not override.is_discrete_sweep() or (override.value_type == ValueType.GLOB_CHOICE_SWEEP and key not in GROUPS):
        raise SettingsError(f"{shown}: only lists of values can be swept, as in {key}=a,b or {key}='range(0,8)'")
    if isinstance(override._value, RangeSweep) and _length(override._value) > MAX_TRIALS:
        raise SettingsError(f"{shown}: the list is too long; allowed: up to {MAX_TRIALS:,} values")
    # Schemas are types, and not choices of a group.
    values = (text for text in override.sweep_string_iterator() if not (key in GROUPS and text.startswith("schema_")))
    texts = [f"{key}={text}" for text in itertools.islice(values, MAX_TRIALS + 1)]
    if len(texts) > MAX_TRIALS:
        raise SettingsError(f"{shown}: the list is too long; allowed: up to {MAX_TRIALS:,} values")
    return texts


def _length(swept: RangeSweep) -> float:
    """Returns the number of values in a range, or 0 for a step of 0, which Hydra refuses later."""
    begin, end, step = (float(value or 0) for value in (swept.start, swept.stop, swept.step))
    return (end - begin) / step if step else 0
