"""A tracking server behind a bad network: answers are lost, late, cut or errors, and the server is away for a while."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from src.spec.record import START, STEP
from src.tracking import attempts, journal
from src.tracking.attempts import Run
from src.tracking.database import Database

FAULTS = ("refused", "lost", "error", "error after it was done", "late", "cut", "away")
SHARE = 0.15  # of requests that go wrong
START_S = 180.0  # time limit for the start of a server
HOPS = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Network(ThreadingHTTPServer):
    """A proxy in front of a server; while `is_bad`, a share of all requests goes wrong."""

    daemon_threads = True

    def __init__(self, port: int, rng: random.Random) -> None:
        """Takes the server's port; listens on another, free one."""
        super().__init__(("127.0.0.1", 0), _Request)
        self.backend_port, self.is_bad, self.happened = port, True, Counter[str]()
        self._rng, self._away_until = rng, 0.0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        """The address to use instead of the server's."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self) -> str | None:
        """Returns the fault of the next request, or None."""
        if not self.is_bad:
            return None
        if time.monotonic() < self._away_until:
            return "refused"
        if self._rng.random() > SHARE:
            return None
        fault = self._rng.choice(FAULTS)
        self.happened[fault] += 1
        if fault == "away":
            self._away_until = time.monotonic() + self._rng.uniform(1, 15)
        return fault

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores the error: a client may have disconnected."""


class _Request(BaseHTTPRequestHandler):
    server: Network

    def _pass_on(self) -> None:
        fault, body = self.server.fault(), self._body()
        self.close_connection = True
        if fault in ("refused", "away"):
            return
        if fault == "error":
            self._answer(503, {}, b"no")
            return
        if fault == "late":
            time.sleep(random.uniform(0.5, 8.0))  # the client waits for 5 s
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.backend_port, timeout=60)
            headers = {key: value for key, value in self.headers.items() if key.lower() not in HOPS}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except OSError:  # the server was killed
            return
        if fault == "lost":
            return
        if fault == "error after it was done":
            self._answer(500, {}, b"no")
            return
        self._answer(response.status, dict(response.getheaders()), content, is_cut=fault == "cut")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass_on  # noqa: N815  the standard library's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, headers: dict[str, str], content: bytes, *, is_cut: bool = False) -> None:
        self.send_response(status)
        for key, value in headers.items():
            if key.lower() not in HOPS:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if is_cut else content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Logs nothing."""


class Server:
    """An MLflow tracking server with its data in a folder, on a free port."""

    def __init__(self, folder: Path) -> None:
        """Starts the server."""
        self.folder, self.database = folder, folder / "server.db"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process = self._started()

    def restart(self) -> None:
        """Kills the server, as a crash would, and starts it again."""
        self._end(signal.SIGKILL)
        self._process = self._started()

    def stop(self) -> None:
        """Stops the server."""
        self._end(signal.SIGTERM)

    def _started(self) -> subprocess.Popen[bytes]:
        words = [
            "server",
            "--backend-store-uri",
            f"sqlite:///{self.database}",
            "--artifacts-destination",
            str(self.folder / "artifacts"),
        ]
        words += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words],
                env=environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + START_S
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1).close()
                return process
            time.sleep(0.3)
        os.killpg(process.pid, signal.SIGKILL)
        raise RuntimeError(f"no tracking server: {(self.folder / 'server.log').read_text(errors='replace')[-500:]}")

    def _end(self, how: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, how)
        self._process.wait(timeout=60)


@contextlib.contextmanager
def behind_a_bad_network(folder: Path, rng: random.Random) -> Iterator[tuple[Server, Network]]:
    """Yields a server and the bad network in front of it."""
    server = Server(folder)
    try:
        network = Network(server.port, rng)
        try:
            yield server, network
        finally:
            network.shutdown()
            network.server_close()
    finally:
        server.stop()


def differences(database: Path, study: Path) -> list[str]:
    """Returns the records of a study's journals that a server lacks or has more than once, as texts."""
    store = Database(f"sqlite:///{database}")
    runs = store.runs(store.experiments()[study.name])
    studies = [run for run in runs if run.tags.get(attempts.KIND) == "study"]
    texts = [f"{len(studies)} study runs"] if len(studies) != 1 else []
    points = store.points(store.experiments()[study.name], "train/loss")
    by_attempt: dict[str, list[Run]] = {}
    for run in runs:
        by_attempt.setdefault(run.tags.get(attempts.ATTEMPT, ""), []).append(run)
    for folder in journal.folders(study):
        for attempt, steps in _steps(folder).items():
            attempt_runs = by_attempt.get(attempt, [])
            sent = sorted(step for run_id, step, _ in points if run_id in {run.run_id for run in attempt_runs})
            if len(attempt_runs) != 1 or attempt_runs[0].status != journal.FINISHED:
                texts.append(f"attempt {attempt} has {[run.status for run in attempt_runs]}")
            elif sent != steps:
                texts.append(f"attempt {attempt} has {len(sent)} steps of {len(steps)}")
    return texts


def _steps(folder: Path) -> dict[str, list[int]]:
    """Returns attempt → the steps of it in a journal that trackers get."""
    by_attempt: dict[str, list[int]] = {}
    for entry in journal.entries(folder, kinds=(START, STEP)):
        if entry.record.kind == START:
            steps = by_attempt.setdefault(str(entry.record.detail["attempt"]), [])
        elif journal.is_sent(entry):
            steps.append(entry.record.step)
    return by_attempt
