"""The settings of sentiment."""

from __future__ import annotations

from pydantic import Field

from src.data.options import MovieReviews, Texts
from src.parts.classes.toggles import Classes
from src.parts.recurrent.toggles import Recurrent
from src.parts.words.toggles import Words


class Settings(Classes, Recurrent, Words):
    """One label for a text."""

    task: str = "sentiment"
    data: Texts = Field(MovieReviews.model_construct(), discriminator="name", description="corpus (config group)")


def pads_in_front(settings: Settings) -> bool:
    """Returns whether masked steps come before the words."""
    return settings.masking and settings.padding_side == "pre"
