"""Measures the speed and the memory of the project: `python -m benchmarks [NAME ...]`, below 40 minutes in all.

Each benchmark runs in a process of its own, with a temporary home. A comparison takes its two sides in turn, because
machines drift. `python -m benchmarks faults MINUTES` runs the campaign of faults instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report
from benchmarks.inside import Options
from benchmarks.registry import BENCHMARKS
from src.paths import REPOSITORY

LONGEST = 5_000  # characters of the errors of a failed benchmark that are shown


def main(words: list[str]) -> int:
    """Runs the named benchmarks, by default all; returns 0, 1 after an error, or 2 for a usage error."""
    if words[:1] == ["faults"]:
        return _faults(float(words[1]) if len(words) > 1 else 30.0)
    arguments = _parser().parse_args(words)
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        print(f"error: no benchmark {sorted(unknown)[0]!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    if arguments.tables:
        report.write(arguments.out or report.FOLDER)
        return 0
    if arguments.quick and arguments.out is None:
        with tempfile.TemporaryDirectory() as folder:
            return _all(arguments.names, Options(True, arguments.torch), Path(folder))
    return _all(arguments.names, Options(arguments.quick, arguments.torch), arguments.out or report.FOLDER)


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, BENCHMARKS)) + 2
    names = "\n".join(f"  {name:<{width}}{benchmark.about}" for name, benchmark in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measures speed and memory.\n\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="benchmarks to run; default: all")
    parser.add_argument("--quick", action="store_true", help="only show that the benchmarks work; keep no numbers")
    parser.add_argument("--torch", metavar="PYTHON", help="a Python with PyTorch, for the comparison with its LSTM")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the results (benchmarks/results)")
    parser.add_argument("--tables", action="store_true", help="measure nothing; write tables and figures again")
    return parser


def _all(names: list[str], options: Options, folder: Path) -> int:
    """Runs benchmarks one after the other, writes their results, and prints the table of the goals."""
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names or BENCHMARKS:
        print(f"\n{name}: {BENCHMARKS[name].about}", flush=True)
        begin = time.perf_counter()
        failed += [name] if _one(name, options, folder / f"{name}.json") else []
        print(f"  ({time.perf_counter() - begin:.0f} s)", flush=True)
    report.write(folder)
    print(f"\n{report.goals_table(report.records(folder))}\n\nresults: {folder}")
    if failed:
        print(f"error: {', '.join(failed)} failed; the errors stand above", file=sys.stderr)
    return int(bool(failed))


def _one(name: str, options: Options, file: Path) -> int:
    """Runs a benchmark in a new process and a new home; returns its exit code."""
    threads = BENCHMARKS[name].threads
    numbers = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), str(threads))
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "ABLATION_HOME": home, **(numbers if threads else {})}
        command = [sys.executable, "-m", "benchmarks.inside", name, str(file.resolve()), json.dumps(options)]
        log = Path(home) / "errors.log"
        with log.open("w", encoding="utf-8") as errors:  # the progress of trials, too
            code = subprocess.run(command, cwd=REPOSITORY, env=environment, stderr=errors, check=False).returncode
        if code:
            print(log.read_text(encoding="utf-8", errors="replace")[-LONGEST:], file=sys.stderr)
        return code


def _faults(minutes: float) -> int:
    from benchmarks import faults

    is_wrong = False
    for count in faults.campaign(minutes):
        print(f"- {count}", flush=True)
        is_wrong |= bool(count.wrong)
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
