"""Combinations in which a toggle has no effect, and combinations that cannot run."""

from __future__ import annotations

from typing import Any

from src.parts import own_model
from src.spec.rules import Inert
from src.tasks.images import faults, pipeline
from src.tasks.images.settings import Settings, has_batch_norm

HAVE = {  # toggle → networks that it changes
    "width": ("mlp", "cnn"),
    "depth": ("mlp", "cnn", "densenet"),
    "activation": ("mlp", "cnn", "densenet"),
    "batch_norm": ("mlp", "cnn", "densenet"),
    "dropout": ("mlp", "cnn", "densenet"),
    "kernel_size": ("cnn", "densenet"),
    "pooling": ("cnn", "densenet"),
    "growth_rate": ("densenet",),
    "blocks": ("densenet",),
    "bottleneck": ("densenet",),
    "compression": ("densenet",),
    "parameters": ("mlp", "cnn", "densenet"),
}
POOLED = {"cnn": "max", "densenet": "average"}


def _of_others(key: str) -> Inert[Any]:
    having = HAVE[key]
    names = " and ".join(filter(None, [", ".join(having[:-1]), having[-1]]))
    reason = f"of the networks, only {names} {'has' if len(having) == 1 else 'have'} it"
    return Inert(key, Settings.model_fields[key].default, lambda s: s.network not in having, reason)


INERT: tuple[Inert[Any], ...] = (
    *own_model.inert(Settings, ("network", "batch_norm", "initializer")),
    *map(_of_others, HAVE),
    Inert("compression", 0.5, lambda s: s.network == "densenet" and s.blocks == 1, "compression is between two blocks"),
    Inert("pooling", None, lambda s: s.network == "densenet" and s.blocks == 1, "pooling is between two blocks"),
    Inert("pooling", None, lambda s: s.pooling == POOLED.get(s.network), "this is what null means"),
    Inert("batch_norm", None, lambda s: s.batch_norm == (s.network == "densenet"), "this is what null means"),
    *pipeline.INERT,
    *faults.INERT,
)


def refusals(settings: Settings, *, shape: tuple[int, int, int]) -> list[str]:
    """Returns why images of shape (H, W, C) do not fit the network, each with its fix; empty if they fit."""
    height, width, _ = shape
    if settings.averaging == "swa" and has_batch_norm(settings):
        what = "averaging=swa does not work with batch normalisation, whose statistics are those of other weights"
        return [f"{what}; set averaging=ema, or batch_norm=false"]
    if settings.network not in HAVE["kernel_size"]:
        return []
    reasons, least, pixels = [], min(height, width), f"{height} x {width} pixels"
    if settings.kernel_size > least:
        what = f"kernel_size={settings.kernel_size} is larger than the images, which have {pixels}"
        reasons.append(f"{what}; set kernel_size={least} or less")
    key, more = ("depth", 0) if settings.network == "cnn" else ("blocks", 1)
    # halvings until one pixel is left: pooling drops an odd last line, a convolution in strides reads it
    most = (least - 1).bit_length() if settings.pooling == "stride" else least.bit_length() - 1
    if settings.pooling != "none" and getattr(settings, key) - more > most:
        what = f"{key}={getattr(settings, key)} halves the images {getattr(settings, key) - more} times"
        what += f", but {pixels} allow {most}"
        reasons.append(f"{what}; set {key}={most + more} or less, or pooling=none")
    return reasons
