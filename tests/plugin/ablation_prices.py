"""Prices of houses from their size and district: a task of another package. B houses in a batch."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from src.spec.metric import LOSS, Metric
from src.spec.rules import Inert
from src.spec.settings import Settings
from src.spec.task import Command
from src.training.model_file import load
from src.training.phase import Phase
from src.training.task import KerasTask


class Prices(Settings):
    task: str = "prices"
    houses: int = Field(256, ge=64, le=100_000, description="houses of the training split")
    district: bool = Field(True, description="whether the model reads the district, beside the size")
    district_dim: int = Field(4, ge=1, le=64, description="size of a district's embedding")


@dataclass(frozen=True)
class Houses:
    digest: str
    rows: dict[str, int]


class HousePrices(KerasTask[Prices, Houses]):
    name, about, settings = "prices", "prices of houses from size and district", Prices
    metrics = (Metric("rmse", "lower", "k€", digits=1, margin=1.0, target=50.0, of="loss", finish="sqrt"), LOSS)
    inert = (Inert("district_dim", 4, lambda settings: not settings.district, "the district is not read"),)
    commands = {"quote": Command("ablation_prices:quote", "says what a house costs", example="120 --district 2")}
    figures = {"errors": "ablation_prices:errors"}

    def load(self, settings):
        return Houses("houses, version 1", {"train": settings.houses, "validation": 64, "test": 64})

    def phase(self, settings, data):
        import tensorflow as tf

        houses = {"size": tf.TensorSpec([None, 1]), "district": tf.TensorSpec([None], "int32")}

        def batches(split, seed):
            rng, count = np.random.default_rng([seed, len(split)]), data.rows[split]
            size, district = rng.uniform(0.4, 2, (count, 1)).astype("float32"), rng.integers(0, 4, count, "int32")
            price = (300 * size[:, 0] + 40 * district + rng.normal(0, 5, count)).astype("float32")
            table = tf.data.Dataset.from_tensor_slices(({"size": size, "district": district}, price, np.arange(count)))
            return table.batch(settings.batch_size, settings.drop_remainder and split == "train")

        return Phase(
            training=lambda epoch: batches("train", 1_000 * settings.seed + epoch),
            batches_per_epoch=len(batches("train", 0)),
            held_out={split: lambda split=split: batches(split, 0) for split in ("validation", "test")},
            signature=(houses, tf.TensorSpec([None])),
            measure=lambda outputs, prices: {"loss": (tf.square(outputs[:, 0] - prices), tf.ones_like(prices))},
            shape=lambda inputs: (len(inputs["size"]), 1),
        )

    def model(self, settings, data):
        import keras

        houses = {"size": keras.Input((1,), name="size"), "district": keras.Input((), dtype="int32", name="district")}
        place = keras.layers.Embedding(4, settings.district_dim)(houses["district"])
        read = keras.layers.Concatenate()([houses["size"], place]) if settings.district else houses["size"]
        return keras.Model(houses, keras.layers.Dense(1)(read))


def quote(folder, size: float, district: int = 0):
    price = load(folder)({"size": np.array([[size / 100]], "float32"), "district": np.array([district])})
    print(f"{float(price[0, 0]):.0f} k€")


def errors(study):
    axes = study.finished.groupby("label")["test/rmse"].mean().plot.barh(xlabel="RMSE (k€)")
    return axes.figure, "Mean error of each variant."


TASK = HousePrices()
