"""Python in processes of its own, with their time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import NamedTuple

from src.paths import REPOSITORY


class Measured(NamedTuple):
    """A finished process.

    Attributes:
      seconds: from its start to its end.
      cpu_seconds: processor time.
      megabytes: peak memory of the process; processes that it started do not count.
      lines: of its standard output.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float
    lines: list[str]


def output_of(*words: str, **variables: str) -> list[str]:
    """Runs Python in the repository and returns the lines of its output.

    Args:
      *words: the arguments of Python.
      **variables: of the environment, in addition to those of this process.

    Raises:
      RuntimeError: it failed; the text has the end of its errors.
    """
    command, environment = [sys.executable, *words], {**os.environ, **variables}
    process = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"python {' '.join(words)[:200]} failed: {process.stderr[-2_000:]}")
    return process.stdout.splitlines()


def measured(*words: str) -> Measured:
    """Runs `python -m MODULE …` or `python -c PROGRAM …` in the repository and measures it.

    The process itself reports its memory at its end: that of its children, such as workers, is not included.
    """
    program = "import atexit, resource, runpy, sys\n"
    program += "def report():\n    used = resource.getrusage(resource.RUSAGE_SELF)\n"
    program += "    print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, flush=True)\n"
    program += "atexit.register(report)\n"
    if words[0] == "-m":
        program += (
            f"sys.argv = {list(words[1:])!r}\nrunpy.run_module({words[1]!r}, run_name='__main__', alter_sys=True)"
        )
    else:
        program += words[1]
    begin = time.perf_counter()
    lines = output_of("-c", program)
    cpu_seconds, megabytes = map(float, lines[-1].split())
    return Measured(time.perf_counter() - begin, cpu_seconds, megabytes, lines[:-1])
