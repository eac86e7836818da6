"""A trained translation model with its vocabularies and settings, from the files of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.artifacts import MODEL
from src.data.pair_contents import SIDES
from src.data.pair_vocabulary import Vocabulary
from src.parts import model_files
from src.spec.section import SettingsError
from src.tasks.translation import vocabulary
from src.tasks.translation.settings import Settings
from src.training import model_file
from src.trial import locate

if TYPE_CHECKING:
    from src.models.translator import Translator

FILES = (vocabulary.FILE, MODEL)
READS = "a trial of task=translation"
DECODER = "Decoder"  # class of the layer that names the design of the model


@dataclass(frozen=True)
class Trained:
    """The files of a trial, checked. `translator` imports TensorFlow; nothing else does.

    Attributes:
      folder: folder of the trial.
      settings: its settings.
      vocabularies: side → vocabulary.
      longest: most tokens of a translation when the trial was evaluated.
      longest_source: ids of a source that the location score knows, with its end; None for other scores.
    """

    folder: Path
    settings: Settings
    vocabularies: Mapping[str, Vocabulary]
    longest: int
    longest_source: int | None

    def translator(self) -> Translator:
        """Returns the model, ready to translate.

        Raises:
          ValueError: the model cannot be loaded, or is another one.
        """
        from src.training.startup import import_tensorflow

        import_tensorflow()
        from src.models.translator import Translator  # also registers the layers of the model

        return Translator(model_file.load(self.folder))


def load(folder: Path) -> Trained:
    """Returns the trained model of a trial's folder, without executing any code from its files.

    Raises:
      ValueError: a file is missing or invalid, or the files belong to different trials.
    """
    settings, objects = model_files.read(folder, Settings, reads=READS)
    vocabularies = vocabulary.read(folder)
    design = next((part["config"].get("design") for part in objects if part["class_name"] == DECODER), None) or {}
    if problem := _problem(design, settings, vocabularies):
        raise ValueError(f"{folder}: {problem}; the files belong to different trials")
    return Trained(folder, settings, vocabularies, design["longest"], design["longest_source"])


def _problem(design: Mapping[str, Any], settings: Settings, vocabularies: Mapping[str, Vocabulary]) -> str | None:
    """Returns how the design of a model contradicts the other files of its trial, or None."""
    if not isinstance(design.get("longest"), int) or "longest_source" not in design:
        return f"{MODEL} has no encoder and decoder that translate"
    for side in SIDES:
        size, known = design.get(f"{side}_size"), vocabularies[side].size
        if size != known:
            return f"{MODEL} has {str(size)[:40]} ids of the {side}, but {vocabulary.FILE} has {known:,}"
    if design.get("attention") != settings.attention:
        return f"{MODEL} has attention={str(design.get('attention'))[:40]}, but the settings {settings.attention}"
    return None


def found(run: str, *, uri: str | None, download_to: Path) -> Trained:
    """Returns the trained model of a trial by its folder, its identity or its MLflow run id.

    Raises:
      ValueError: there is no such trial, it was trained with another task, or `load` refuses it.
    """
    folder = locate.folder_of(run, uri=uri, download_to=download_to, files=())
    task = locate.task_of(folder)
    if task != Settings.model_fields["task"].default:
        raise SettingsError(f"{run}: {model_files.of_another_task(task, reads=READS)}")
    return load(locate.folder_of(run, uri=uri, download_to=download_to, files=FILES))
