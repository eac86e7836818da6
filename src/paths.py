"""Where things lie: everything that a run writes is below one folder."""

import os
import re
from pathlib import Path

from src.settings import SettingsError

REPOSITORY = Path(__file__).resolve().parent.parent


def home() -> Path:
    """Returns the folder of outputs and of the default MLflow database: `$ABLATION_HOME`, or the repository root."""
    return Path(os.environ.get("ABLATION_HOME") or REPOSITORY).resolve()


def outputs() -> Path:
    """Returns the folder with one sub-folder a study; `tensorboard --logdir` takes it as it is."""
    return home() / "outputs"


def study_folder(study: str) -> Path:
    """Returns the folder of one study, with one sub-folder a trial, named by the trial's identity."""
    return outputs() / study


def cache() -> Path:
    """Returns the folder of encoded corpora. The dot keeps it apart from studies, whose names have none."""
    return outputs() / ".cache"


def default_tracking_uri() -> str:
    """Returns the MLflow store that plain `mlflow ui` shows when it is started in `home()`.

    Raises:
      SettingsError: the path means another file where it stands in an address; quoting it has MLflow make folders of the quotes.
    """
    path = home() / "mlflow.db"
    if re.search(r"\?|%[0-9a-f]{2}", str(path), re.IGNORECASE):
        allowed = "a path without ? and without % before two digits"
        raise SettingsError(f"ABLATION_HOME: got {home()}; allowed for MLflow's database: {allowed}. Set another, or tracking=offline")
    return f"sqlite:///{path}"
