"""Hydra's way to a study: the adapter from its sweeper interface to `src.study`."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src import paths
from src.settings import GROUPS, NOT_TOGGLES, TOGGLES, Settings, SettingsError, from_hydra

ConfigStore.instance().store(
    group="hydra/sweeper", name="study", node={"_target_": "hydra_plugins.ablation_sweeper.sweeper.StudySweeper"}, provider="ablation"
)


class StudySweeper(Sweeper):
    """Turns `a=1,2 b=x,y` into a plan, and has Hydra's launcher train it."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Takes what Hydra has composed so far."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """Plans and runs the study that the overrides describe.

        Raises:
          SettingsError: an override or a value that cannot be used.
          TrialsFailed: a trial failed.
        """
        from src.study import plan, sweep
        from src.study.plan import Level

        fixed: dict[str, str] = {}
        levels: dict[str, list[Level]] = {}
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        for override in parser.parse_overrides(arguments):
            key = override.get_key_element()
            fixed.pop(key, None)
            levels.pop(key, None)
            if override.is_sweep_override():
                levels[key] = [Level(text, parser.parse_override(text).value()) for text in _texts(override)]
            else:
                fixed[key] = str(override.input_line)
        found = plan.rows(list(fixed.values()), levels, groups=list(GROUPS), compose=self._compose)
        sweep.run(found, launch=lambda jobs: self._launch(jobs, study=_study(found)))

    def _compose(self, overrides: list[str]) -> Settings:
        return from_hydra(self.hydra_context.config_loader.load_sweep_config(self.config, overrides))

    def _launch(self, jobs: list[list[str]], *, study: str) -> None:
        with open_dict(self.config):
            self.config.hydra.sweep.dir = str(paths.study_folder(study))
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )
        for outcome in launcher.launch(jobs, initial_job_idx=0):
            _ = outcome.return_value  # raises what the task function did not record itself


def _texts(override: Override) -> list[str]:
    if not override.is_discrete_sweep() or (override.value_type == ValueType.GLOB_CHOICE_SWEEP and override.key_or_group not in GROUPS):
        raise SettingsError(f"{override.input_line}: only lists of values can be swept, such as {override.key_or_group}=a,b or =range(0,8)")
    key = override.get_key_element()
    if key.split(".")[0] in NOT_TOGGLES:
        raise SettingsError(f"{override.input_line}: {key} is no toggle; it has one value for all trials. Toggles: {', '.join(TOGGLES)}")
    return [f"{key}={text}" for text in override.sweep_string_iterator()]


def _study(found: list) -> str:
    return next(row.trial.settings.study for row in found if row.trial)
