"""The settings of integration. Identities use the original layout, which included the toggles of texts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from src.parts.classes.toggles import Classes
from src.parts.own_model import OwnModel
from src.parts.recurrent.toggles import Recurrent
from src.spec.section import Width


class Settings(OwnModel, Classes, Recurrent):
    """Whether the sum of white noise is above a threshold. The noise is drawn during training and needs no padding."""

    task: str = "integration"
    sequence_length: int = Field(25, ge=1, le=100_000, description="steps of noise per sequence, T")
    num_samples: int = Field(80_000, ge=1, le=10**9, description="examples per epoch; every epoch has new examples")
    threshold: float = Field(
        0.0, ge=-(10**6), le=10**6, description="the class is 1 if the sum of the noise is above this value"
    )
    target: Literal["class", "integral"] = Field(
        "class", description="predict the class, or the sum itself (accuracy is that of the class)"
    )
    embedding_dim: Width = Field(64, description="size of the projected noise, D")
