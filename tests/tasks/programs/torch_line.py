"""A PyTorch script: a small MLP on points of a circle."""

import json
import os
import sys

import torch

width, seed = int(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(seed)
points = torch.rand(256, 2) * 2 - 1
inside = (points.pow(2).sum(1) < 0.6).long()
model = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.ReLU(), torch.nn.Linear(width, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
with open(os.environ["ABLATION_METRICS"], "a", encoding="utf-8") as report:
    for step in range(1, 61):
        loss = torch.nn.functional.cross_entropy(model(points[:128]), inside[:128])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            report.write(json.dumps({"step": step, "train/loss": loss.item()}) + "\n")
    accuracy = (model(points[128:]).argmax(1) == inside[128:]).float().mean().item()
    report.write(json.dumps({"test/accuracy": accuracy}) + "\n")
torch.save(model.state_dict(), os.path.join(os.environ["ABLATION_ARTIFACTS"], "model.pt"))
