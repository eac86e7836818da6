"""The benchmarks: name → module, and the threads of TensorFlow that it measures with."""

from __future__ import annotations

from typing import NamedTuple


class Benchmark(NamedTuple):
    """A benchmark.

    Attributes:
      about: what it measures.
      threads: threads of TensorFlow; None leaves the choice to TensorFlow.
      runs_trials: whether it trains whole trials, so that the load that it leaves behind does not mark the next one.
    """

    about: str
    threads: int | None = None


# `benchmarks.NAME` has a function `measure(options)` that yields the results. Later ones run on a warmer machine.
BENCHMARKS: dict[str, Benchmark] = {
    "start": Benchmark("answers, plans and the first step: how long a user waits"),
    "step": Benchmark("the training step against model.fit, PyTorch and its matrix products", threads=1),
    "recurrence": Benchmark("ways to compute a recurrent layer", threads=1),
    "stacked": Benchmark("the seeds of a variant as one model with stacked weights, an experiment", threads=1),
    "timing": Benchmark("the timing pass: a model against itself, and against slower copies", threads=1),
    "tasks": Benchmark("the training step of each task against what its users would write", threads=1),
    "translation": Benchmark("the default translation, a thousand translations from it, memory and long targets"),
    "word_vectors": Benchmark("pairs per second of word vectors, beside gensim"),
    "vector_quality": Benchmark("word vectors of the default trial beside gensim's, by their tests"),
    "loops": Benchmark("buckets, loops over time and ragged tensors", threads=1),
    "execution": Benchmark("graphs, XLA and Python by the size of the model", threads=1),
    "tracking": Benchmark("a recorded trial against an unrecorded one"),
    "workers": Benchmark("one worker and two, and the gap between trials"),
    "scheduling": Benchmark("idle workers at the end of a study, simulated"),
    "memory": Benchmark("peak memory of a trial and of the driver"),
    "analysis": Benchmark("loading, comparing and reporting up to 10,000 trials"),
    "scale": Benchmark("planning, resuming and comparing up to 100,000 trials"),
    "shell_loop": Benchmark("a study of 8 variants against a shell loop of plain scripts"),
}
