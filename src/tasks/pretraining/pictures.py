"""What TensorBoard shows of a trial: what the pretext's model makes of test images, and the codes of their classes.

Letters: N images, H x W pixels, C channels, D numbers of a code, K classes. Test images are only looked at: no pretext
is trained on them.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from src.data.images import Stored
from src.files import replaced
from src.parts.images.tiles import GAP, INK, LINE, PAPER, SIDE, cut, font, grid
from src.streams import generator
from src.tasks.pretraining import learning
from src.tasks.pretraining.pretexts import PRETEXTS, finished
from src.tasks.pretraining.settings import CODE, RECONSTRUCTING, Settings

if TYPE_CHECKING:
    import keras

_log = logging.getLogger(__name__)

SHOWN, SEEN = 12, 1_000  # images of a picture of the pretext; images whose codes are drawn
RECONSTRUCTIONS, CODES = "reconstructions.npy", "codes.parquet"
PCA, UMAP = ("x", "y"), ("umap_x", "umap_y")  # columns of the file of codes
NEIGHBOURS = 15  # UMAP's default
COLOURS = [  # Tableau's ten colours, for classes
    *((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
    *((140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207)),
]


def of_pretext(settings: Settings, data: Stored, model: keras.Model) -> Mapping[str, np.ndarray]:
    """Returns the picture of a trained pretext: reconstructions, recognised rotations, or the views of SimCLR."""
    inputs, targets, outputs = answers(settings, data, model)
    if settings.pretext in RECONSTRUCTING:
        tiles = _bytes(np.stack([targets[0], inputs, outputs], axis=1))
        caption = f"test images: image, input and output of pretext={settings.pretext}"
        return {"reconstructions": grid(tiles.reshape(-1, *tiles.shape[2:]), caption=caption, columns=6)}
    if settings.pretext == "rotation":
        guesses = outputs.argmax(axis=1)
        texts = [f"{90 * turn}°: {90 * guess}°" for turn, guess in zip(targets, guesses, strict=True)]
        caption = f"turned test images: rotation and prediction; {(guesses == targets).sum()} of {len(texts)} are right"
        return {"rotations": grid(_bytes(inputs), caption=caption, texts=texts, columns=4)}
    tiles = _bytes(np.stack(inputs, axis=1))
    caption = "pairs of views of test images, which pretext=simclr tells from those of others"
    return {"views": grid(tiles.reshape(-1, *tiles.shape[2:]), caption=caption, columns=6)}


def answers(settings: Settings, data: Stored, model: keras.Model) -> tuple[Any, Any, Any]:
    """Returns inputs, targets and outputs of the pretext's model for the first test images; outputs are finished."""
    images = learning.scale(data)(data.split("test").images[_spread(data)])
    rng = generator(settings.seed, "pretext", "pictures")
    inputs, targets = PRETEXTS[settings.pretext].make(images, settings, rng)
    outputs = model(inputs, training=False)
    if settings.pretext in RECONSTRUCTING:
        outputs = finished(outputs, settings)
    return inputs, targets, [np.asarray(one) for one in outputs] if isinstance(outputs, tuple) else np.asarray(outputs)


def _spread(data: Stored) -> np.ndarray:
    """Returns the rows of test images of as many classes as possible."""
    labels = np.asarray(data.split("test").labels)
    seen = np.zeros(len(data.classes), int)
    rounds = np.empty(len(labels), int)
    for row, label in enumerate(labels.tolist()):
        rounds[row] = seen[label]
        seen[label] += 1
    return np.argsort(rounds, kind="stable")[:SHOWN]


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.asarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))


def codes(model: keras.Model, data: Stored) -> tuple[np.ndarray, np.ndarray]:
    """Returns the codes of test images, float32[N, D], and their classes int[N]; at most `SEEN` images.

    Args:
      model: a classifier with a code.
      data: the images.
    """
    import keras

    split = data.split("test")
    encoder, scale = keras.Model(model.input, model.get_layer(CODE).output), learning.scale(data)
    parts = [np.asarray(encoder(scale(split.images[a : a + 250]))) for a in range(0, min(len(split.labels), SEEN), 250)]
    found = np.concatenate(parts)[:SEEN]
    return found, np.asarray(split.labels[: len(found)])


def has_code(model: keras.Model) -> bool:
    """Returns whether a classifier has a code; logistic regression on pixels has none."""
    return any(layer.name == CODE for layer in model.layers)


def flat(found: np.ndarray) -> np.ndarray:
    """Returns the first two principal components of codes, float64[N, 2]; the second is 0 for codes of one number."""
    centred = found.astype(np.float64) - found.mean(axis=0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    two = (left * strengths)[:, :2]
    return np.hstack([two, np.zeros((len(two), 2 - two.shape[1]))])


def by_umap(found: np.ndarray, *, seed: int) -> np.ndarray | None:
    """Returns UMAP's two dimensions of codes, float32[N, 2].

    McInnes, Healy and Melville, "UMAP: Uniform Manifold Approximation and Projection", 2018, with its default settings.
    A seed makes it reproducible, with one thread.

    Returns:
      None if the package umap-learn is not installed or fails, or if there are no more codes than the neighbours that
      UMAP looks at.
    """
    if len(found) <= NEIGHBOURS:
        return None
    try:
        if importlib.util.find_spec("umap") is None:
            return None
        umap = importlib.import_module("umap")
        return np.asarray(umap.UMAP(n_neighbors=NEIGHBOURS, random_state=seed, n_jobs=1).fit_transform(found))
    except Exception:  # an error in a picture must not fail a trial
        _log.warning("the codes have no coordinates by UMAP", exc_info=True)
        return None


def scatter(points: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, caption: str) -> np.ndarray:
    """Draws points float[N, 2] in the colours of their classes, with the names of the classes below."""
    from PIL import Image, ImageDraw

    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    places = GAP + (points - low) / span * (SIDE - 3 * GAP)
    columns = max(1, SIDE // 84)
    rows = -(-len(classes) // columns)
    picture = Image.new("RGB", (SIDE, LINE + GAP + SIDE + rows * LINE + GAP), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, 0), cut(caption, SIDE), INK, font())
    for (x, y), label in zip(places, labels.tolist(), strict=True):
        at = (x, LINE + GAP + SIDE - y)
        draw.ellipse([at[0] - 2, at[1] - 2, at[0] + 2, at[1] + 2], fill=COLOURS[label % len(COLOURS)])
    for number, name in enumerate(classes):
        left, top = number % columns * 84 + GAP, LINE + GAP + SIDE + number // columns * LINE
        draw.rectangle([left, top + 3, left + 7, top + 10], fill=COLOURS[number % len(COLOURS)])
        draw.text((left + 12, top), cut(name, 68), INK, font())
    return np.asarray(picture)


def write(
    folder: Path, settings: Settings, data: Stored, model: keras.Model, of_pretext: keras.Model | None
) -> list[str]:
    """Writes the files of the figures; returns their names.

    Args:
      folder: of the trial.
      settings: of the trial.
      data: the images.
      model: the trained classifier.
      of_pretext: the trained model of the pretext; None without one.
    """
    import pandas as pd

    names = []
    if has_code(model):
        found, labels = codes(model, data)
        frame = pd.DataFrame(flat(found), columns=[*PCA]).assign(**{"class": [data.classes[one] for one in labels]})
        if (placed := by_umap(found, seed=settings.seed)) is not None:
            frame[[*UMAP]] = placed
        with replaced(folder / CODES) as path:
            frame.to_parquet(path, index=False)
        names.append(CODES)
    if of_pretext is not None and settings.pretext in RECONSTRUCTING:
        inputs, targets, outputs = answers(settings, data, of_pretext)
        with replaced(folder / RECONSTRUCTIONS) as path, path.open("wb") as file:
            np.save(file, _bytes(np.stack([targets[0], inputs, outputs], axis=1)))
        names.append(RECONSTRUCTIONS)
    return names


def write_projector(folder: Path, model: keras.Model, data: Stored) -> None:
    """Writes the codes of test images, with their classes, for TensorBoard's projector."""
    from src.terminal.visible import one_line

    found, labels = codes(model, data)
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "codes.tsv", found, fmt="%.4g", delimiter="\t")
    lines = "".join(f"{one_line(data.classes[label])}\n" for label in labels.tolist())
    (folder / "metadata.tsv").write_text(lines, encoding="utf-8", errors="backslashreplace")
    config = 'embeddings {\n  tensor_name: "codes"\n  tensor_path: "codes.tsv"\n  metadata_path: "metadata.tsv"\n}\n'
    (folder / "projector_config.pbtxt").write_text(config, encoding="utf-8")
