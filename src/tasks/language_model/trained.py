"""A trained language model with its vocabulary and settings, from the files of a trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from src.artifacts import MODEL
from src.data.tokens import FIRST_WORD, PADDING, START
from src.parts import model_files
from src.tasks.language_model import vocabulary
from src.tasks.language_model.settings import Settings
from src.tasks.language_model.vocabulary import Vocabulary
from src.training import model_file

if TYPE_CHECKING:
    from src.tasks.language_model.stepping import Stepper

FILES = (vocabulary.FILE, MODEL)
HEAD = "WordLoss"  # class of the output layer, which names the number of ids


@dataclass(frozen=True)
class Trained:
    """The files of a trial, checked. `stepper` imports TensorFlow; nothing else does."""

    folder: Path
    settings: Settings
    vocabulary: Vocabulary

    @property
    def never(self) -> set[int]:
        """Ids that no text contains: padding, the start, and ids without a word, if the corpus has fewer words."""
        return {PADDING, START, *range(FIRST_WORD + len(self.vocabulary.words), self.settings.vocab_size)}

    def stepper(self) -> Stepper:
        """Returns the model, ready to read and write words.

        Raises:
          ValueError: the model cannot be loaded, or is another one.
        """
        from src.training.startup import import_tensorflow

        import_tensorflow()
        from src.models import cells, initial_state, loops, onehot, text_loop, word_loss, word_vectors  # noqa: F401  registers
        from src.tasks.language_model.stepping import Stepper

        return Stepper(model_file.load(self.folder))


def load(folder: Path) -> Trained:
    """Returns the trained model of a trial's folder, without executing any code from its files.

    Raises:
      ValueError: a file is missing or invalid, or the files belong to different trials.
    """
    settings, objects = model_files.read(folder, Settings, reads="a language model")
    words, room = vocabulary.read(folder), settings.vocab_size - FIRST_WORD
    sizes = [part["config"].get("size") for part in objects if part["class_name"] == HEAD]
    problem = None
    if sizes != [settings.vocab_size]:
        problem = f"{MODEL} predicts {str(sizes)[:40]} ids, but vocab_size={settings.vocab_size}"
    elif len(words.words) > room:
        problem = f"{vocabulary.FILE} has {len(words.words):,} words, but vocab_size={settings.vocab_size}"
    if problem is not None:
        raise ValueError(f"{folder}: {problem}; the files belong to different trials")
    return Trained(folder, settings, words)
