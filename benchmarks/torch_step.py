"""The training step of the default classifier in PyTorch, in a process of its own: `PYTHON torch_step.py FILE`.

FILE (.npz) has the batches: `ids_I` int64[B, T] (0 is padding, at the end), `lengths_I` int64[B], `labels_I`
float32[B], and the sizes `vocabulary`, `width`, `units`. For each line `padded` or `packed` on the standard input, it
trains on all batches, and prints the milliseconds of each step as a JSON list. It imports nothing of this project.

    padded: the LSTM runs over the padding, too, and the head reads the last step
    packed: `pack_padded_sequence`, and the head reads the last real step, as a mask does in Keras

PyTorch's LSTM has two biases where Keras' has one; all else has the same sizes.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import nn


class Classifier(nn.Module):  # type: ignore[misc]
    """Embedding, LSTM, and a linear layer to one logit."""

    def __init__(self, vocabulary: int, width: int, units: int) -> None:
        """Creates the layers."""
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.lstm = nn.LSTM(width, units, batch_first=True)
        self.head = nn.Linear(units, 1)

    def forward(self, ids: Any, lengths: Any) -> Any:
        """Returns float32[B] logits; `lengths` is None for the padded form."""
        x = self.embedding(ids)
        if lengths is None:
            states, _ = self.lstm(x)
            return self.head(states[:, -1])[:, 0]
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        return self.head(last[-1])[:, 0]


def main(path: str) -> None:
    """Answers lines until the input ends."""
    torch.set_num_threads(1)
    stored = np.load(path)
    count = sum(name.startswith("ids_") for name in stored.files)
    batches = [[torch.from_numpy(stored[f"{part}_{i}"]) for part in ("ids", "lengths", "labels")] for i in range(count)]
    sizes = [int(stored[name]) for name in ("vocabulary", "width", "units")]
    models = {}
    for kind in ("padded", "packed"):
        torch.manual_seed(0)
        model = Classifier(*sizes)
        models[kind] = (model, torch.optim.Adam(model.parameters(), lr=1e-3), nn.BCEWithLogitsLoss())
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        kind = line.strip()
        print(json.dumps([step(*models[kind], *batch, is_packed=kind == "packed") for batch in batches]), flush=True)


def step(model: Any, optimizer: Any, loss_of: Any, ids: Any, lengths: Any, labels: Any, *, is_packed: bool) -> float:
    """Trains on one batch and returns the milliseconds."""
    begin = time.perf_counter()
    optimizer.zero_grad()
    loss = loss_of(model(ids, lengths if is_packed else None), labels)
    loss.backward()
    optimizer.step()
    loss.item()
    return 1e3 * (time.perf_counter() - begin)


if __name__ == "__main__":
    main(sys.argv[1])
