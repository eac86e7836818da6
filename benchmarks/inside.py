"""One benchmark in a process of its own: `python -m benchmarks.inside NAME FILE OPTIONS`.

So no benchmark sees the memory, the graphs or the threads of another one, and an error in one leaves the others alone.
"""

from __future__ import annotations

import datetime
import importlib
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.report import line
from benchmarks.result import Result


class Options(NamedTuple):
    """What the user chose.

    Attributes:
      is_quick: sizes that only show that the benchmark works; its numbers mean nothing.
      torch: a Python that has PyTorch; None looks for PyTorch in this one.
    """

    is_quick: bool = False
    torch: str | None = None


def run(name: str, options: Options) -> dict[str, Any]:
    """Runs one benchmark; prints each result when it is known, and returns the record of all of them."""
    about = machine.description()
    begin, results, error = time.perf_counter(), list[Result](), None
    try:
        for result in importlib.import_module(f"benchmarks.{name}").measure(options):
            results.append(result)
            print(line(result), flush=True)
    except Exception:  # a failed benchmark is reported, and its results so far are kept
        error = traceback.format_exc()
        print(error, file=sys.stderr)
    return {
        "benchmark": name,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "is_quick": options.is_quick,
        "machine": about,
        "seconds": round(time.perf_counter() - begin, 1),
        "error": error,
        "results": [result.as_json() for result in results],
    }


def as_text(record: dict[str, Any]) -> str:
    """Returns a record as JSON with one line per result, which may have hundreds of measurements."""
    head = json.dumps({**record, "results": None}, indent=1)
    results = ",\n  ".join(json.dumps(result, ensure_ascii=False) for result in record["results"])
    return head.replace('"results": null', f'"results": [\n  {results}\n ]') + "\n"


def main(words: list[str]) -> int:
    """Runs the benchmark and writes its record as JSON."""
    name, file, options = words[0], Path(words[1]), Options(*json.loads(words[2]))
    record = run(name, options)
    file.write_text(as_text(record), encoding="utf-8")
    return int(record["error"] is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
