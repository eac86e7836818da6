"""Peak memory of a default trial, where it grows, and that of the driver of a study. `analysis` has the report's."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.goals import for_goal
from benchmarks.inside import Options
from benchmarks.processes import measured, output_of
from benchmarks.result import MEGABYTES, Goal, Result, mean_of

# A trial in a new process; it prints the resident memory at each stage, and the recorded peak.
TRIAL = """
import json, psutil
def resident():
    return psutil.Process().memory_info().rss / 2**20
stages = {"Python": resident()}
from src.config.settings import checked, edited
from src.tracking import journal
from src.trial import run
from src.trial.prepare import prepare
settings = edited(checked({"study": "memory"}), CHANGES)
prepared = prepare(settings)
stages["settings and data"] = resident()
from src.training.startup import import_tensorflow
import_tensorflow()
stages["TensorFlow"] = resident()
from src.spec import record as kinds
NAMES = {kinds.GRAPH: "model", kinds.STEP: "training", kinds.EVALUATION: "validation", kinds.END: "test and files"}
ALL = run.records
def watched(*words, **options):
    for record in ALL(*words, **options):
        if record.kind in NAMES:
            name = NAMES[record.kind]
            stages[name] = max(stages.get(name, 0.0), resident())
        yield record
run.records = watched
run.run(settings)
stages["tracking"] = resident()
end = journal.last_attempt(prepared.folder)[-1].record
print(json.dumps({"peak": end.metrics["memory/peak_mb"], "stages": stages}))
"""
WORDS = ["masking=true,false", "seed=0,1", "epochs=1", "data.limit=64", "study=driven", "tracking.histograms=false"]
LAUNCHER = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def measure(options: Options) -> Iterator[Result]:
    """Yields the peak memory of a trial with that of its stages, and of a driver."""
    changes = {"epochs": 1, "data.limit": 64} if options.is_quick else {"epochs": 1}
    repeats = 1 if options.is_quick else 2
    trials = [_trial({**changes, "seed": seed}) for seed in range(repeats)]
    peaks = [peak for peak, _ in trials]
    stages = trials[0][1]
    yield for_goal("memory/trial", mean_of(peaks), n=repeats, megabytes=peaks, resident_after=stages)
    for name, megabytes in stages.items():
        what = f"resident memory of a default trial at its stage *{name}*"
        yield Result(f"memory/{name.replace(' ', '_')}", what, megabytes, MEGABYTES)
    driver = measured("-m", "src.run", "-m", *WORDS, *LAUNCHER).megabytes
    what = "peak memory of the driver of a study with 2 workers"
    yield Result("memory/driver", what, driver, MEGABYTES, goal=Goal("at most", 500.0))


def _trial(changes: dict[str, object]) -> tuple[float, dict[str, float]]:
    """Returns the peak megabytes of a trial in a new process, and stage → resident megabytes."""
    answer = json.loads(output_of("-c", TRIAL.replace("CHANGES", repr(changes)))[-1])
    return answer["peak"], {name: float(round(megabytes)) for name, megabytes in answer["stages"].items()}
