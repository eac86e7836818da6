"""The first phase of a trial: the pretext, as a task of its own, which only trials of `pretraining` train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from src.spec.metric import Metric
from src.spec.task import First
from src.tasks.pretraining.settings import TRAINED, Settings
from src.training.task import KerasTask, Trained

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras

    from src.data.images import Stored
    from src.spec.task import Trial
    from src.training.phase import Phase

NAME = "pretext"
# Settings of the classifier, which do not change the encoder.
OF_LABELS = (
    *("head", "class_weights", "decision_threshold", "select", "tune", "tuned_layers", "labels", "label_seed"),
    *("steps_per_epoch", "max_steps", "evaluate_every", "schedule", "warmup", "patience", "averaging", "ema_momentum"),
)
RENAMED = {"pretext_epochs": "epochs", "pretext_learning_rate": "learning_rate", "pretext_batch_size": "batch_size"}


@final
class Pretext(KerasTask[Settings, "Stored"]):
    """A pretext: an encoder learns from images without labels."""

    name = NAME
    about = "what an encoder learns without labels"
    settings = Settings

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        """Takes the metrics of the pretext."""
        self.metrics = metrics  # type: ignore[misc]  # each pretext has its own

    def load(self, settings: Settings) -> Stored:
        """Returns the images."""
        from src.data import images

        return images.load(settings.data)

    def phase(self, settings: Settings, data: Stored) -> Phase:
        """Returns the batches without labels."""
        from src.tasks.pretraining import learning

        return learning.without_labels(settings, data)

    def model(self, settings: Settings, data: Stored) -> keras.Model:
        """Returns the untrained model of the pretext."""
        from src.tasks.pretraining import networks

        return networks.pretext(settings, shape=data.shape)

    def selection(self, settings: Settings) -> Metric:
        """Returns the first metric of the pretext: `select` names one of the classifier."""
        return self.metrics[0]

    def write_files(self, trial: Trial[Settings, Stored], trained: Trained) -> Sequence[str]:
        """Writes no further files."""
        return []


def first(settings: Settings) -> First | None:
    """Returns the first phase of a trial; None for a pretext that is not trained."""
    if settings.pretext not in TRAINED:
        return None
    from src.tasks.pretraining.pretexts import PRETEXTS

    fixed = {key: type(settings).model_fields[key].default for key in (*OF_LABELS, *RENAMED)}
    changed: dict[str, Any] = fixed | {used: getattr(settings, key) for key, used in RENAMED.items()}
    task = Pretext(PRETEXTS[settings.pretext].metrics)
    keys = {used: key for key, used in RENAMED.items()}
    return First(NAME, f"pretext={settings.pretext}", task, settings.model_copy(update=changed), keys=keys)
