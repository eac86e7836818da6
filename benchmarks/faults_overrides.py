"""Thousands of odd command lines and study files: each must be planned or refused quickly, and write nothing.

    python -m benchmarks.faults_overrides           # all of them, in some minutes
    python -m benchmarks.faults_overrides 100 7     # a hundred of each, with seed 7

Tests try a few of them. No command trains: each has `plan_only=true`.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hydra.core.config_store import ConfigStore

from src import run
from src.config.explain import GROUPS
from src.tasks.integration.settings import Settings as Integration
from src.tasks.sentiment.settings import Settings as Sentiment

TOGGLES = tuple(dict.fromkeys((*Sentiment.toggles(), *Integration.toggles())))
NAME = "odd"  # name of the study files
MAX_SECONDS = 10.0  # of one command on a busy machine; inputs that are too large are refused in less than two
MAX_ECHO = 2_500  # characters of an error
QUICK = ["task=integration"]  # a task that reads no data
SECTIONS = (
    "plan",
    "tracking",
    "data",
    "task",
    "hydra",
    "hydra.launcher",
    "hydra.callbacks",
    "hydra.sweep",
    "hydra.job",
    "hydra.run",
    "x",
)
NAMES = (
    "levels",
    "seeds",
    "design",
    "name",
    "path",
    "limit",
    "n_jobs",
    "_target_",
    "_partial_",
    "dir",
    "env_set",
    "uri",
    "x",
    "0",
    "[0]",
)
FLAGS = (
    "--experimental-rerun=x",
    "--exp=x",
    "--config-dir=/tmp",
    "-cd",
    "--run",
    "-p",
    "--shell-completion",
    "--unknown",
    "-x",
)
HYDRAS = (
    "hydra.callbacks={x:{_target_:pandas.read_pickle,filepath_or_buffer:x}}", "+hydra.callbacks.x._target_=os.system",
    "hydra={callbacks:{}}", "++hydra.sweep.dir=/tmp/x", "hydra.output_subdir=x", "hydra.searchpath=[file:///tmp]",
    "hydra/job_logging=default", "~hydra.launcher", "hydra/hydra_logging=colorlog",
    "hydra.launcher._target_=os.system", "data@hydra.callbacks=table", "hydra/launcher=ray_aws",
    "hydra/launcher=../x", "data=../../../tmp/x", "+experiments=../../x", "+experiments@hydra=x",
    "hydra.job_logging.handlers.x.()=os.system",
    "hydra.verbose=true", "hydra.job.env_set.PATH=x", "hydra.job.env_copy=[HOME]", "~hydra", "+hydra/callbacks=x",
    "hydra.mode=RUN",
)  # fmt: skip
WORDS = (
    "", "null", "true", "1", "-1", "1e400", "nan", "inf", "0x1f", "1_0", "lstm", "gru", "lstm,gru", "[]", "{}",
    "[1,[2,[3]]]", "{a:1}", "range(0,3)", "range(0,150000)", "range(0,3,0)", "range(1000000000000,shuffle=true)",
    "interval(0,1)", "glob(*)", "choice(a,b)", "shuffle(1,2)", "sort(3,1)", "int(x)", "json_str(x)",
    "${oc.env:HOME}", "${oc.create:{a:1}}", "${hydra:runtime.cwd}", "'${x}'", "\\${x}",
    "=1+1", "@x", "a b", "'a", '"', "\\",
    "\x1b[31m", "\u202eabc", "é", "\ud800", "../../x", "/dev/null", "x" * 300, "x" * 100_000,
    "[" * 60_000, "(" * 300, "{a:" * 200, "," * 500,
    "a\nb", "\t", "\x00", "_target_", "{_target_:os.system}", "::", "~", "+", "%00", "<b>",
)  # fmt: skip
TEXTS = (
    *(word for word in WORDS if len(word) < 1_000),
    "*x",
    "&x 1",
    "!!python/object/apply:os.system [ls]",
    "- a",
    "? b",
    "|",
    ">-",
    "# c",
)


def overrides(count: int, seed: int = 0) -> Iterator[list[str]]:
    """Yields command lines of one to three words."""
    draw = random.Random(seed)
    for _ in range(count):
        yield [_word(draw) for _ in range(draw.choice((1, 1, 2, 3)))]


def study_files(count: int, seed: int = 0) -> Iterator[str]:
    """Yields the texts of study files."""
    draw = random.Random(seed)
    kinds = (_plain, _plain, _defaults, _hydra, _aliases, _deep, _long, _noise)
    for number in range(count):
        yield kinds[number % len(kinds)](draw)


def fault(words: list[str], text: str | None = None) -> str | None:
    """Runs a command line and returns what is wrong with its answer, or None.

    Args:
      words: words of the command line.
      text: content of a study file that the command line names, or None.
    """
    output, begin = _Output(), time.monotonic()
    command = [*QUICK, *words, "plan_only=true"]
    try:
        code: object = _run_with_file(command, text, output) if text is not None else output.run(command)
    except SystemExit as error:  # from argparse
        code = error.code
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    seconds = time.monotonic() - begin
    lines = output.err.splitlines()
    if seconds > MAX_SECONDS:
        return f"the answer seconds {seconds:.1f} s"
    if code == 0 and _is_forbidden(words, text or ""):
        return "planned, although it would run code, or read or write outside a study"
    if code == 0:
        return f"planned, with output on stderr: {output.err[:200]}" if lines else None
    if code not in (1, 2) or not 0 < len(lines) <= run.MAX_LINES or "Traceback" in output.err:
        return f"exit code {code} with {len(lines)} lines: {output.err[:200]}"
    characters = output.err.replace("\u202f", " ")
    is_printable = all(character.isprintable() or character in "\n\t" for character in characters)
    if len(output.err) > MAX_ECHO or not is_printable:
        return f"the error echoes too much: {output.err[:200]!r}"
    return None


def _is_forbidden(words: list[str], text: str) -> bool:
    """Returns whether a command must be refused in any case."""
    if any(word in HYDRAS or word in FLAGS for word in words):
        return True
    return any(re.search(r"\b_target_|\$\{", part) for part in (*words, text))  # but a study may be named null_target_


class _Output:
    """Runs a command and keeps its output on stdout and stderr."""

    def run(self, words: list[str]) -> int:
        out, err = io.StringIO(), io.StringIO()
        before = sys.argv[:]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                return run.main(words)
        finally:
            sys.argv[:] = before
            self.out, self.err = out.getvalue(), err.getvalue()


def _run_with_file(words: list[str], text: str, output: _Output) -> int:
    """Runs a command with this study file in a temporary folder that replaces the repository's folder."""
    stored = ConfigStore.instance().repo.get("experiments")
    before = run.EXPERIMENTS
    with tempfile.TemporaryDirectory() as folder:
        run.EXPERIMENTS = Path(folder)
        (Path(folder) / f"{NAME}.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            return output.run([f"+experiments={NAME}", *words])
        finally:
            run.EXPERIMENTS = before
            (stored or ConfigStore.instance().repo.get("experiments", {})).pop(f"{NAME}.yaml", None)


def _word(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.1:
        return draw.choice(FLAGS)
    if kind < 0.3:
        return draw.choice(HYDRAS)
    section = draw.choice(SECTIONS)
    key = draw.choice(
        (draw.choice(TOGGLES), draw.choice(GROUPS), f"{section}.{draw.choice(NAMES)}", section, "study", "plan.seeds")
    )
    if draw.random() < 0.8:
        value = draw.choice(WORDS)
    else:
        value = draw.choice(WORDS)[:50] + draw.choice(("", ",", ":", "]")) + draw.choice(WORDS)[:50]
    return draw.choice(("", "", "", "+", "++", "~")) + key + draw.choice(("=", "=", "=", "@x=", "")) + value


def _plain(draw: random.Random) -> str:
    lines = [f"study: {draw.choice((NAME, NAME, NAME, draw.choice(TEXTS)))}"]
    for key in draw.sample(TOGGLES, 3):
        lines.append(f"{key}: {draw.choice(TEXTS)}")
    levels = f"{{{draw.choice(TOGGLES)}: [{draw.choice(TEXTS)}, {draw.choice(TEXTS)}]}}"
    lines.append(f"plan: {{levels: {levels}, seeds: {draw.choice(TEXTS)}}}")
    return "\n".join(lines)


def _defaults(draw: random.Random) -> str:
    keys = (
        "override /hydra/launcher",
        "override /data",
        "/data",
        "override /data@hydra.callbacks",
        NAME,
        f"/experiments/{NAME}",
        "optional x",
    )
    entry = draw.choice(keys) + draw.choice(("", ": table", ": joblib", ": ../../x", ": [a, b]", ": null", ": {a: b}"))
    second = draw.choice(("_self_", NAME, "null", entry))
    return f"# @package hydra.callbacks\nstudy: {NAME}\ndefaults:\n  - {entry}\n  - {second}\n"


def _hydra(draw: random.Random) -> str:
    calls = "{_target_: pandas.read_pickle, filepath_or_buffer: x}"
    places = (
        "callbacks: {x: VALUE}",
        "launcher: VALUE",
        "launcher: {n_jobs: VALUE}",
        "job_logging: {x: VALUE}",
        "sweep: {dir: /tmp/x}",
        "run: VALUE",
    )
    value = draw.choice((calls, "{_partial_: true}", "${oc.env:HOME}", "1", "null", "[1]", "x"))
    merged = f"base: &x {{callbacks: {{x: {calls}}}}}\nhydra:\n  <<: *x\n"
    return f"study: {NAME}\n" + draw.choice(
        (f"hydra: {{{draw.choice(places).replace('VALUE', value)}}}\n", merged, f"hydra: {value}\n")
    )


def _aliases(draw: random.Random) -> str:
    count, wide = draw.choice((3, 9, 30)), draw.choice((2, 9))
    lines = [f"study: {NAME}", "x0: &x0 [1, 2]"] + [
        f"x{k}: &x{k} [{', '.join([f'*x{k - 1}'] * wide)}]" for k in range(1, count)
    ]
    return "\n".join([*lines, draw.choice(("", "y: &y [*y]", "z: &z {<<: *z}"))])


def _deep(draw: random.Random) -> str:
    count = draw.choice((10, 1_000, 60_000))
    opening, closing = draw.choice((("[", "]"), ("{a: ", "}"), ("[", "")))
    return (
        f"study: {NAME}\nplan: {opening * count}{closing * count}\n"
        if draw.random() < 0.8
        else "".join(f"{' ' * k}a:\n" for k in range(min(count, 900)))
    )


def _long(draw: random.Random) -> str:
    count = draw.choice((300, 100_000))
    kinds = (
        f"study: {'x' * count}",
        f"study: {NAME}\n{'x' * count}: 1",
        f"study: {NAME}\nplan: {{question: {'x' * count}}}",
    )
    return draw.choice((*kinds, f"study: {NAME}\nplan: {{seeds: [{', '.join(map(str, range(count)))}]}}"))


def _noise(draw: random.Random) -> str:
    return f"study: {NAME}\n" * draw.choice((0, 1)) + "".join(
        draw.choice("ab:-[]{}&*!|>'\"%@#, \n\t\x1b\u202e0") for _ in range(60)
    )


def main() -> int:
    """Tries all of them, and prints those with a wrong answer."""
    count, seed = (int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0) if len(sys.argv) > 1 else (0, 0)
    failures = 0
    for words in overrides(count or 2_000, seed):
        if wrong := fault(words):
            failures += 1
            print(f"{[word[:80] for word in words]}: {wrong}", flush=True)
    for text in study_files(count or 400, seed):
        if wrong := fault([], text):
            failures += 1
            print(f"{text[:200]!r}: {wrong}", flush=True)
    print(f"{failures} wrong answers")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
