"""A program that runs: its output, how it ended, and the end of all of its processes."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

CHUNK = 1 << 16  # bytes
LOOK_S = 0.2  # between two looks at the report
PATIENCE_S = 15.0  # time for the supervisor to end the program, more than its own limits together
SUPERVISOR = Path(__file__).with_name("supervisor.py")
MARK = "ABLATION_ATTEMPT"  # environment variable by which processes of an attempt are found


class Ended(NamedTuple):
    """How a program ended.

    Attributes:
      code: exit code; negative for a signal, None if it never began or nobody saw its end.
      error: why it never began.
      is_late: whether it was ended because its time was over.
      seconds: wall time, in seconds.
      peak_mb: peak memory of its largest process, in MB; None if unknown.
    """

    code: int | None
    error: str | None
    is_late: bool
    seconds: float
    peak_mb: float | None = None


class Log:
    """The output of a program in a file of limited size: the first half, and the last half once the program ends."""

    def __init__(self, path: Path, limit: int) -> None:
        """Begins the file.

        Args:
          path: the file.
          limit: bytes.
        """
        self._file: IO[bytes] = path.open("wb", buffering=0)
        self._half, self._written, self._dropped, self._kept = limit // 2, 0, 0, 0
        self._tail: deque[bytes] = deque()

    def write(self, data: bytes) -> None:
        """Adds output."""
        room = max(0, self._half - self._written)
        self._file.write(data[:room])
        self._written += len(data[:room])
        if rest := data[room:]:
            self._tail.append(rest)
            self._kept += len(rest)
        while self._tail and self._kept - len(self._tail[0]) >= self._half:
            self._kept -= len(self._tail[0])
            self._dropped += len(self._tail.popleft())

    def close(self) -> None:
        """Writes the last half, and how much is left out before it."""
        if self._dropped:
            self._file.write(f"\n… {self._dropped:,} bytes left out (program.log_mb) …\n".encode())
        self._file.write(b"".join(self._tail))
        self._file.close()


class Process:
    """A program under a supervisor. Use it in a `with` block, whose end leaves no process."""

    def __init__(self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str], mark: str) -> None:
        """Starts the program.

        Args:
          command: its words.
          folder: the folder in which it runs.
          environment: its environment variables.
          mark: text that no other attempt has.
        """
        self._mark = mark
        self._status, theirs = os.pipe()
        self._begin = time.monotonic()
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", str(SUPERVISOR), str(theirs), *command],
            cwd=folder,
            env={**environment, MARK: mark},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs],
            start_new_session=True,
        )
        os.close(theirs)
        self._said = b""
        self._is_late = False

    def output(self, *, seconds: float | None) -> Iterator[bytes]:
        """Yields the output as it comes, and nothing (`b""`) from time to time, until the program has ended.

        Args:
          seconds: wall time after which the program is ended; None for no limit.
        """
        assert self._supervisor.stdout is not None
        output, is_asked = self._supervisor.stdout.fileno(), False
        open_ends = {output, self._status}
        while open_ends:
            passed = time.monotonic() - self._begin
            if seconds is not None and passed > seconds and not is_asked:
                is_asked = self._is_late = True
                self._close_pipe()
            ready, _, _ = select.select(list(open_ends), [], [], LOOK_S)
            for end in ready:
                data = os.read(end, CHUNK)
                if not data:
                    open_ends.discard(end)
                elif end == output:
                    yield data
                else:
                    self._said += data
            if self._status not in open_ends and self._ended() is None:
                self._kill_rest()
            yield b""

    def ended(self) -> Ended:
        """Returns how the program ended; `output` must be exhausted."""
        said = self._ended() or {}
        seconds = time.monotonic() - self._begin
        return Ended(said.get("code"), said.get("error"), self._is_late, seconds, said.get("peak_mb"))

    def __enter__(self) -> Self:
        """Returns the process."""
        return self

    def __exit__(self, *error: object) -> None:
        """Ends all processes of the program."""
        self._close_pipe()
        assert self._supervisor.stdout is not None
        self._supervisor.stdout.close()  # a program that writes does not wait for a reader
        try:
            self._supervisor.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        finally:
            if self._ended() is None:
                self._read_rest()
            while self._ended() is None and self._kill_rest():
                time.sleep(LOOK_S)
            os.close(self._status)

    def _close_pipe(self) -> None:
        assert self._supervisor.stdin is not None
        self._supervisor.stdin.close()

    def _read_rest(self) -> None:
        while self._supervisor.poll() is not None and (data := os.read(self._status, CHUNK)):
            self._said += data

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._said.split(b"\n")[:-1]]

    def _ended(self) -> dict[str, Any] | None:
        """Returns the last line of the supervisor; None if it has not said how the program ended."""
        lines = self._lines()
        return lines[-1] if lines and not {"code", "error"}.isdisjoint(lines[-1]) else None

    def _kill_rest(self) -> int:
        """Kills what is left of the program after its supervisor was killed; returns how many processes it found.

        One that is being started has no environment yet, so the caller repeats this.
        """
        import psutil

        found = 0
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self._mark:
                    process.kill()
                    found += 1
            except (psutil.Error, OSError):
                continue
        return found
