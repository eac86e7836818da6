"""A program that reports JSON lines: a line through three points, fitted by gradient descent."""

import argparse
import json
import os
import random

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--seed", type=int)
words = parser.parse_args()

slope = random.Random(words.seed).random()
with open(os.environ["ABLATION_METRICS"], "a", encoding="utf-8") as report:
    for epoch in (1, 2, 3):
        slope -= words.lr * 2 * (slope - 3)
        for values in (
            {"step": epoch * 10, "train/loss": (slope - 3) ** 2},
            {"epoch": epoch, "val/loss": (slope - 3) ** 2},
        ):
            report.write(json.dumps(values) + "\n")
    report.write(json.dumps({"test/loss": (slope - 3) ** 2}) + "\n")
with open(os.path.join(os.environ["ABLATION_ARTIFACTS"], "slope.txt"), "w", encoding="utf-8") as file:
    file.write(str(slope))
print("slope", slope)
