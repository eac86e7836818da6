"""Combinations in which a toggle has no effect, and combinations that cannot run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from src.parts.classes import labelled
from src.spec.rules import Change, Inert
from src.tasks.pretraining.settings import FITTED, RECONSTRUCTING, TRAINED, WIDTHS, Settings

OF_ENCODER = ("encoder", "width", "depth", "kernel_size", "activation", "initializer", "batch_norm", "dropout")
OF_PRETEXT = ("pretext_epochs", "pretext_learning_rate", "pretext_batch_size")
OF_TRAINING = {
    **{"optimizer": "adam", "momentum": 0.0, "learning_rate": 1e-3, "clip_norm": None, "batch_size": 64},
    **{"accumulate": 1, "epochs": 1, "steps_per_epoch": 1, "max_steps": None, "execution": "graph"},
    **{"schedule": "constant", "warmup": 0.0, "patience": None, "averaging": "none", "class_weights": "none"},
    **{"select": "accuracy"},
}


def _default(key: str, applies: Callable[[Settings], bool], reason: str) -> Inert[Any]:
    return Inert(key, Settings.model_fields[key].default, applies, reason)


def _unless(pretexts: Sequence[str], reason: str, *keys: str) -> list[Inert[Any]]:
    return [_default(key, lambda s: s.pretext not in pretexts, reason) for key in keys]


INERT: tuple[Inert[Any], ...] = (
    Inert(
        "pretext",
        "autoencoder",
        lambda s: s.pretext == "denoising" and s.corruption == 0,
        "with corruption=0 nothing is corrupted",
    ),
    *(
        Inert(key, value, lambda s: s.pretext in FITTED, "this baseline is fitted by scikit-learn")
        for key, value in OF_TRAINING.items()
    ),
    *(_default(key, lambda s: s.pretext in FITTED, "this baseline has no network") for key in OF_ENCODER),
    _default("code_size", lambda s: s.pretext == "pixels", "pretext=pixels has no code"),
    Inert("tune", "all", lambda s: s.pretext == "none", "with pretext=none the whole network learns from labels"),
    Inert("tune", "head", lambda s: s.pretext == "random", "pretext=random is the encoder that does not learn"),
    Inert("tune", "head", lambda s: s.pretext in FITTED, "this baseline is fitted by scikit-learn"),
    Inert(
        "tune",
        "all",
        lambda s: s.tune == "last_n" and s.tuned_layers == s.depth + 1,
        "these are all layers of the encoder",
    ),
    _default("tuned_layers", lambda s: s.tune != "last_n", "only tune=last_n counts layers"),
    *_unless(TRAINED, "this pretext is not trained", *OF_PRETEXT),
    *_unless((*TRAINED, "pca"), "this pretext reads no unlabelled images", "unlabelled"),
    *_unless(RECONSTRUCTING, "this pretext reconstructs no images", "decoder", "reconstruction"),
    *_unless(("denoising",), "only pretext=denoising corrupts pixels", "corruption"),
    *_unless(("inpainting",), "only pretext=inpainting has a hole", "hole", "hole_loss"),
    *_unless(("simclr",), "only pretext=simclr has similarities", "temperature"),
    _default("decoder", lambda s: s.encoder == "mlp", "only the decoder of a CNN has it"),
    _default("kernel_size", lambda s: s.encoder == "mlp", "an MLP has no convolutions"),
    _default("dropout", lambda s: s.pretext == "random", "pretext=random trains no hidden layer"),
    Inert("width", None, lambda s: s.width == WIDTHS[s.encoder], "this is what null means"),
    *labelled.INERT,
    Inert("drop_remainder", False, lambda s: True, "every batch with labels is full"),
)


def changes(settings: Settings, counts: Sequence[int]) -> list[Change]:
    """Returns what follows from the number of training images of each class: as many labels as there are is null."""
    found = labelled.changes(settings, counts, what="images")
    if settings.unlabelled == sum(counts):
        found.append(Change("unlabelled", settings.unlabelled, None, "these are all training images"))
    return found


def refusals(settings: Settings, *, shape: tuple[int, int, int], counts: Mapping[str, int]) -> list[str]:
    """Returns why the settings cannot run on these images, each reason with its fix; empty if they can.

    Args:
      settings: of the trial.
      shape: (H, W, C) of an image.
      counts: class → number of its training images.
    """
    return [
        *_of_labels(settings, counts),
        *_of_encoder(settings, shape),
        *_of_pretext(settings, shape),
        *_of_averages(settings),
    ]


def _of_averages(settings: Settings) -> list[str]:
    """Returns why averages of the weights do not work: the head standardises codes by statistics of other weights."""
    if settings.averaging != "swa":
        return []
    what = "averaging=swa does not work with the head, which standardises the code by the statistics of other weights"
    return [f"{what}; set averaging=ema"]


def _of_labels(settings: Settings, counts: Mapping[str, int]) -> list[str]:
    reasons, train = labelled.refusals(settings, counts, what="images"), sum(counts.values())
    if settings.unlabelled is not None and settings.unlabelled > train:
        what = f"unlabelled={settings.unlabelled}: there are {train:,} training images"
        reasons.append(f"{what}; set unlabelled={train} or less, or unlabelled=null for all")
    if settings.tune == "last_n" and settings.tuned_layers > settings.depth + 1:
        what = (
            f"tuned_layers={settings.tuned_layers}: the encoder has {settings.depth + 1} layers, depth={settings.depth}"
        )
        reasons.append(f"{what} and the code; set tuned_layers={settings.depth + 1} or less, or tune=all")
    return reasons


def _of_encoder(settings: Settings, shape: tuple[int, int, int]) -> list[str]:
    height, width, _ = shape
    if settings.encoder == "mlp" or settings.pretext in FITTED:
        return []
    reasons, least, pixels = [], min(height, width), f"{height} x {width} pixels"
    if settings.kernel_size > least:
        what = f"kernel_size={settings.kernel_size} is larger than the images, which have {pixels}"
        reasons.append(f"{what}; set kernel_size={least} or less")
    if settings.depth > (most := (least - 1).bit_length()):
        what = f"depth={settings.depth} halves the images {settings.depth} times, but {pixels} allow {most}"
        reasons.append(f"{what}; set depth={most} or less")
    elif settings.pretext in RECONSTRUCTING:
        reasons += _of_decoder(settings, height, width)
    return reasons


def _of_decoder(settings: Settings, height: int, width: int) -> list[str]:
    """Returns why doubling does not undo the halvings, which round up, with the depths and sizes that work."""
    factor = 2**settings.depth
    small = (-(-height // factor), -(-width // factor))
    large = (small[0] * factor, small[1] * factor)
    if large == (height, width):
        return []
    depths = [depth for depth in range(1, settings.depth) if height % 2**depth == 0 and width % 2**depth == 0]
    what = (
        f"depth={settings.depth} halves {height} x {width} pixels to {small[0]} x {small[1]}, rounding up, from which"
    )
    what += f" the decoder makes {large[0]} x {large[1]}"
    below = f"images of {max(1, height // factor) * factor} or {large[0]} pixels work, as all multiples of {factor} do"
    fix = f"set depth={' or '.join(map(str, depths))}" if depths else "set encoder=mlp"
    return [f"{what}; {fix}, or resize the images: {below}"]


def _of_pretext(settings: Settings, shape: tuple[int, int, int]) -> list[str]:
    height, width, channels = shape
    reasons, least = [], min(height, width)
    if settings.pretext == "inpainting" and settings.hole >= least:
        what = f"hole={settings.hole} leaves nothing of the images, which have {height} x {width} pixels"
        reasons.append(f"{what}; set hole={least - 1} or less")
    if settings.pretext == "rotation" and height != width:
        reasons.append(
            f"pretext=rotation turns images by 90 degrees, but they have {height} x {width} pixels; use square images"
        )
    if settings.pretext == "simclr" and settings.accumulate > 1:
        what = (
            f"accumulate={settings.accumulate} does not work with pretext=simclr, which compares the images of a batch"
        )
        reasons.append(f"{what}; set accumulate=1 and a larger pretext_batch_size")
    if settings.pretext == "simclr" and settings.pretext_batch_size < 2:
        reasons.append("pretext=simclr compares the images of a batch; set pretext_batch_size=2 or more")
    if settings.pretext == "pca" and settings.code_size > (most := height * width * channels):
        reasons.append(f"code_size={settings.code_size}: images have {most:,} numbers; set code_size={most} or less")
    return reasons


def warnings(settings: Settings, *, shape: tuple[int, int, int]) -> list[str]:
    """Returns what a user should know about settings that can run."""
    numbers = shape[0] * shape[1] * shape[2]
    if settings.pretext != "autoencoder" or settings.code_size < numbers:
        return []
    what = f"code_size={settings.code_size} is no smaller than an image of {numbers:,} numbers"
    return [f"warning: {what}: without noise, an autoencoder can copy it and learn nothing else"]
