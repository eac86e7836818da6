"""A scikit-learn script: a fold of a cross-validation is a seed."""

import json
import os
import sys

from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

depth, fold = int(sys.argv[1]), int(sys.argv[2])
data, target = load_iris(return_X_y=True)
train, test = list(StratifiedKFold(4, shuffle=True, random_state=0).split(data, target))[fold]
model = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(data[train], target[train])
with open(os.environ["ABLATION_METRICS"], "w", encoding="utf-8") as report:
    report.write(json.dumps({"test/accuracy": model.score(data[test], target[test])}))
