"""Prints the speed and memory figures of the project: `python -m benchmarks [NAME ...]`, about ten minutes in all.

Machines are noisy. Each comparison therefore alternates the two sides (A B A B …) in one process and reports medians.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import execution, faults, scale
from src.config.settings import edited
from src.paths import REPOSITORY
from src.tasks.sentiment.settings import Settings
from src.trial.prepare import prepare

PAIRS = 4


def answers() -> list[str]:
    """Returns the seconds that `--help`, a wrong value and a wrong key take."""
    rows = []
    for name, words in {"--help": ["--help"], "cell=foo": ["cell=foo"], "maskin=true": ["maskin=true"]}.items():
        seconds = []
        for _ in range(5):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-m", "src.run", *words], cwd=REPOSITORY, capture_output=True, check=False)
            seconds.append(time.perf_counter() - begin)
        rows.append(f"`{name}` is answered in {statistics.median(seconds):.2f} s (target: under 2 s)")
    return rows


def recording() -> list[str]:
    """Compares a trial that is recorded in the journal, TensorBoard and MLflow with one that is not, alternately."""
    from src.spec.record import END
    from src.trial import run as trial

    settings = edited(Settings(), {"data.limit": 3_200, "epochs": 2, "rerun": True})

    def plain() -> float:
        begin = time.perf_counter()
        for record in trial.records(prepare(settings)):
            assert record.kind != END or record.metrics
        return time.perf_counter() - begin

    def recorded() -> float:
        begin = time.perf_counter()
        trial.run(settings)
        return time.perf_counter() - begin

    plain(), recorded()  # the first runs also import, create the database and fill the cache
    pairs = [(recorded(), plain()) for _ in range(PAIRS)]
    ratio = statistics.median(with_ / without for with_, without in pairs)
    share = _recording_share(settings)
    return [
        f"a whole recorded trial takes {ratio:.3f} of the time of an unrecorded one "
        f"(median of {PAIRS} pairs of about {pairs[0][1]:.0f} s)",
        f"recording a step takes {share:.2%} of the time of a batch (target: under 1 %)",
    ]


def _recording_share(settings: Settings) -> float:
    """Returns the time between steps, divided by the time of the steps.

    Between steps are the records, the progress, the journal, and the trackers when they are due.
    """
    from src.spec.record import STEP
    from src.tracking.follow import Follower
    from src.tracking.journal import Journal
    from src.trial import run as trial

    prepared = prepare(edited(settings, {"seed": 99}))
    outside = inside = arrived = 0.0
    kind = ""
    with Journal(prepared.folder) as book:
        follower = Follower(prepared.folder, prepared.settings)
        for record in trial.records(prepared):
            before, arrived = arrived, time.perf_counter()
            if record.kind == kind == STEP:
                step_s = record.metrics["time/batch_ms"] / 1e3
                outside, inside = outside + arrived - before - step_s, inside + step_s
            kind = record.kind
            book.append(record)
            if kind != STEP or follower.is_due:
                book.sync()
                follower.update()
    return outside / inside


def start() -> list[str]:
    """Returns the seconds from the start of a second trial on the same data to its first step, and its input waits."""
    import pandas as pd

    from src.spec.record import STEP
    from src.trial import run as trial

    trial.run(edited(Settings(), {"data.limit": 640, "epochs": 1}))
    seconds = []
    for seed in range(1, 4):
        begin = time.perf_counter()
        prepared = prepare(edited(Settings(), {"seed": seed, "epochs": 1}))
        for record in trial.records(prepared):
            if record.kind == STEP:
                seconds.append(time.perf_counter() - begin)
                break
    settings = edited(Settings(), {"epochs": 1, "seed": 7})
    trial.run(settings)
    steps = pd.read_parquet(prepare(settings).folder / "steps.parquet")
    wait = steps["wait_ms"].sum() / steps["time/batch_ms"].sum()
    return [
        f"a further trial on all reviews ends its first step {statistics.median(seconds):.1f} s after its start, "
        "tracing included (target: the step starts within 3 s)",
        f"waiting for input is {wait:.1%} of the time of a batch (target: under 5 %)",
    ]


def memory() -> list[str]:
    """Returns the peak memory of a default trial in a new process."""
    program = (
        "from src.config.settings import edited; from src.tasks.sentiment.settings import Settings\n"
        "from src.tracking import journal; from src.trial import run as trial; from src.trial.prepare import prepare\n"
        "settings = edited(Settings(), {'epochs': 1, 'study': 'memory'}); trial.run(settings)\n"
        "print(journal.last_attempt(prepare(settings).folder)[-1].record.metrics['memory/peak_mb'])"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return [f"a default trial peaks at {float(process.stdout.splitlines()[-1]):,.0f} MB (target: under 2,048 MB)"]


def bucketing() -> list[str]:
    """Compares the time per epoch with buckets and with padding to the longest of the data set, at 500 steps."""
    from src.spec.record import EVALUATION
    from src.trial import run as trial

    def epoch_s(**changes: Any) -> float:
        settings = edited(Settings(), {"max_length": 500, "epochs": 1, "tracking.histograms": False, **changes})
        records = trial.records(prepare(settings))
        return next(record.metrics["time/steady_epoch_s"] for record in records if record.kind == EVALUATION)

    # On all reviews: with few reviews, many buckets would have small batches.
    pairs = [(epoch_s(), epoch_s(padding="dataset")) for _ in range(2)]
    ratio = statistics.median(bucketed / padded for bucketed, padded in pairs)
    return [
        f"bucketing takes {ratio:.2f} of the time per epoch of padding=dataset at max_length=500 (target: at most 0.55)"
    ]


def loops() -> list[str]:
    """Compares the time per batch of our two loops and of Keras' layer."""
    from src.spec.record import END
    from src.trial import run as trial

    def batch_ms(**changes: Any) -> float:
        settings = edited(Settings(), {"data.limit": 1_200, "epochs": 1, "tracking.histograms": False, **changes})
        records = trial.records(prepare(settings))
        return next(record.metrics["time/batch_ms_median"] for record in records if record.kind == END)

    def ratio(numerator: dict[str, Any], denominator: dict[str, Any]) -> float:
        return statistics.median(batch_ms(**numerator) / batch_ms(**denominator) for _ in range(PAIRS))

    graph = ratio({"implementation": "graph_loop"}, {"implementation": "keras"})
    long = {"max_length": 500, "bucketing": False}
    packed = ratio({**long, "implementation": "graph_loop"}, {**long, "implementation": "packed_loop"})
    return [
        f"graph_loop takes {graph:.2f} of the time per batch of keras on the default classifier (target: at most 1.3)",
        f"packed_loop is {packed:.2f} times as fast as graph_loop without buckets at max_length=500 "
        "(target: at least 1.3)",
    ]


def ragged() -> list[str]:
    """Compares a ragged tensor with padding and a mask: forward and backward pass of an LSTM over 64 sequences."""
    import numpy as np
    import tensorflow as tf

    from src.models.cells import LSTMCell
    from src.models.loops import graph_loop

    rng, units = np.random.default_rng(0), 64
    lengths = rng.integers(20, 201, 64)
    padded = tf.constant(rng.normal(size=(64, 200, 64)), tf.float32)
    mask = tf.sequence_mask(lengths, 200)
    x = tf.RaggedTensor.from_tensor(padded, lengths)
    cell = LSTMCell(units)
    cell.build((None, 64))

    def last_of_sequence(row: Any) -> Any:
        return graph_loop(cell, row[None], None, cell.zero_states(1), sequences=False)[0]

    def last(is_ragged: bool) -> Any:
        if is_ragged:
            return tf.map_fn(last_of_sequence, x, fn_output_signature=tf.TensorSpec([units]), parallel_iterations=2)
        return graph_loop(cell, padded, mask, cell.zero_states(64), sequences=False)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step(is_ragged: bool) -> Any:
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(last(is_ragged))
        return tape.gradient(value, cell.trainable_variables)

    def seconds(is_ragged: bool) -> float:
        begin = time.perf_counter()
        step(is_ragged)[0].numpy()
        return time.perf_counter() - begin

    for ragged_gradient, padded_gradient in zip(step(True), step(False), strict=True):
        np.testing.assert_allclose(ragged_gradient, padded_gradient, rtol=1e-3, atol=1e-3)
    ratios = [seconds(True) / seconds(False) for _ in range(3 * PAIRS)]
    return [
        f"a ragged tensor takes {statistics.median(ratios):.1f} times as long as padding with a mask "
        "(64 sequences of 20 to 200 steps)"
    ]


def drawing() -> list[str]:
    """Returns the share of a training step of the integration task that it waits for noise."""
    import pandas as pd

    from src.config.settings import checked
    from src.spec.record import STEP
    from src.trial import run as trial

    settings = checked({"task": "integration", "num_samples": 20_000, "epochs": 1, "tracking": {"histograms": False}})
    records = trial.records(prepare(settings))
    steps = [{**record.metrics, **record.detail} for record in records if record.kind == STEP]
    frame = pd.DataFrame(steps)[lambda rows: ~rows["is_first"].astype(bool)]
    share = frame["wait_ms"].sum() / frame["time/batch_ms"].sum()
    return [f"{share:.1%} of a step of the integration task is waiting for noise (target: at most 10 %)"]


def planning() -> list[str]:
    """Returns the seconds of a command that plans 10,000 cells."""
    words = ["-m", "plan_only=true", "units=range(1,101)", "embedding_dim=range(1,101)"]
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-m", "src.run", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        assert "= 10,000 trials" in process.stdout
        seconds.append(time.perf_counter() - begin)
    return [f"10,000 cells are planned in {statistics.median(seconds):.1f} s (target: under 10 s)"]


def workers() -> list[str]:
    """Compares the trials per hour of two workers and of one, and times the gap between trials, from their journals."""
    rates: dict[int, list[float]] = {}
    for turn in range(2):
        for count in (1, 2):
            records = _swept(count, study=f"workers{count}", seeds=range(6 * turn, 6 * turn + 6))
            rates.setdefault(count, []).append(
                len(records) / (max(end for _, end in records) - min(begin for begin, _ in records))
            )
    ratio = statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    times = sorted(_swept(1, study="between", seeds=range(6), limit=64))
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(times)]
    return [
        f"two workers train {ratio:.2f} times as many trials per hour as one "
        "(median of 2 pairs of 6 trials; target: at least 1.5)",
        f"the next trial starts {statistics.median(gaps):.2f} s after the end of a trial (target: under 0.5 s)",
    ]


def _swept(count: int, *, study: str, seeds: range, limit: int = 3_200) -> list[tuple[float, float]]:
    """Runs a sweep and returns the start and the end of every trial, in seconds since 1970."""
    from src import paths
    from src.tracking import journal

    words = [
        f"study={study}",
        f"data.limit={limit}",
        "epochs=2",
        "seed=" + ",".join(map(str, seeds)),
        "tracking.histograms=false",
    ]
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={count}"]
    one_thread = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}  # as each worker of several has
    environment = {**os.environ, **one_thread}
    command = [sys.executable, "-m", "src.run", "-m", *words, *launcher]
    subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=True)
    attempts = [journal.last_attempt(folder) for folder in journal.folders(paths.study_folder(study))]
    return [
        (attempt[0].time_ms / 1e3, attempt[-1].time_ms / 1e3)
        for attempt in attempts
        if int(attempt[0].record.detail["name"].rsplit("=")[-1]) in seeds
    ]


def analysis() -> list[str]:
    """Returns the seconds to load 10,000 trials, and to report 1,000 trials of 500 steps, from generated stores."""
    import shutil

    from benchmarks import generated
    from src import paths

    def outcome(values: dict[str, Any], seed: int) -> dict[str, Any]:
        return {
            "test/accuracy": 0.8 + 0.001 * values["units"] + 0.01 * (seed % 3),
            "validation": [0.6 + 0.01 * n for n in range(12)],
        }

    (paths.home() / "analysed").mkdir()
    path = generated.database(paths.home() / "analysed")
    wide = {"units": list(range(8, 58)), "embedding_dim": list(range(8, 33))}
    generated.study(path, "many", wide, outcome, seeds=range(8))
    generated.study(
        path, "long", {"units": list(range(8, 58)), "depth": [1, 2]}, outcome, seeds=range(10), steps=500, examples=500
    )
    load = "import time; begin = time.perf_counter(); from analysis import load, store\n"
    load += "rows = load.study('many', store.connect('sqlite:///%s')).rows\n"
    load += "assert set(rows['status']) == {'FINISHED'} and len(rows) == 10_000; print(time.perf_counter() - begin)"
    seconds = [float(_python("-c", load % path)[0]) for _ in range(3)]
    begin = time.perf_counter()
    report = "import resource, sys; from analysis.__main__ import app\n"
    report += f"app(['report', 'long', '--uri', 'sqlite:///{path}', '--no-attach'], standalone_mode=False)\n"
    report += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    megabytes = float(_python("-c", report)[-1])
    reported = time.perf_counter() - begin
    shutil.rmtree(path.parent)
    return [
        f"10,000 trials are loaded in {statistics.median(seconds):.1f} s (target: under 10 s)",
        f"1,000 trials of 500 steps are reported in {reported:.0f} s with at most {megabytes:,.0f} MB "
        "(target: under 60 s and 1,536 MB)",
    ]


def _python(*words: str) -> list[str]:
    """Runs Python in the repository and returns the lines of its output."""
    return subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()


BENCHMARKS: dict[str, Callable[[], list[str]]] = {
    "answers": answers,
    "start": start,
    "memory": memory,
    "recording": recording,
    "bucketing": bucketing,
    "loops": loops,
    "ragged": ragged,
    "drawing": drawing,
    "execution": execution.figures,
    "planning": planning,
    "workers": workers,
    "analysis": analysis,
    "scale": scale.figures,
}


def main(names: list[str]) -> int:
    """Runs the named benchmarks, by default all, in a temporary home; `faults MINUTES` runs the campaign of faults."""
    if names[:1] == ["faults"]:
        is_wrong = False
        for count in faults.campaign(float(names[1]) if len(names) > 1 else 30.0):
            print(f"- {count}", flush=True)
            is_wrong |= bool(count.wrong)
        return int(is_wrong)
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"error: no benchmark {sorted(unknown)[0]!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as home:
        os.environ["ABLATION_HOME"] = str(Path(home))
        from src.training.startup import import_tensorflow

        import_tensorflow()
        lines = []
        for name in names or BENCHMARKS:
            lines += [f"- {name}: {row}" for row in BENCHMARKS[name]()]
            print("\n".join(["", *lines, ""]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
