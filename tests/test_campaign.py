"""The campaign of faults causes its faults: every program survives a fault that does not happen."""

from __future__ import annotations

import http.client
import random
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from benchmarks import faults, faults_data, faults_files, faults_server


class Echo(BaseHTTPRequestHandler):
    """Answers with the body of each request, and stores it."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


@pytest.fixture
def network():
    server = HTTPServer(("127.0.0.1", 0), Echo)
    server.received = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    network = faults_server.Network(server.server_address[1], random.Random(0))
    network.destination = server
    yield network
    for running in (network, server):
        running.shutdown()
        running.server_close()


def ask(network, body=b"request"):
    """Returns status and body of the response, or None without one."""
    client = http.client.HTTPConnection(network.uri.removeprefix("http://"), timeout=10)
    try:
        client.request("POST", "/x", body)
        answer = client.getresponse()
        return answer.status, answer.read()
    except (http.client.HTTPException, OSError):
        return None
    finally:
        client.close()


@pytest.mark.parametrize(
    ("fault", "answer", "is_done"),
    [
        (None, (200, b"request"), True),
        ("refused", None, False),
        ("lost", None, True),
        ("error", (503, b"no"), False),
        ("error after it was done", (500, b"no"), True),
        ("cut", None, True),
    ],
)
def test_each_fault_of_the_network_has_the_effect_of_its_name(network, monkeypatch, fault, answer, is_done):
    monkeypatch.setattr(network, "fault", lambda: fault)

    assert ask(network) == answer and network.destination.received == [b"request"] * is_done


def test_a_network_without_faults_forwards_every_request(network):
    answers = {ask(network) is None for _ in range(60)}
    network.is_bad = False

    assert answers == {True, False} and network.happened.total() > 0
    assert {ask(network) for _ in range(20)} == {(200, b"request")}


def test_a_forked_child_returns_its_result_or_its_error():
    assert faults_files.forked(lambda: "read") == "read"
    assert faults_files.forked(lambda: str(1 / 0)) == "ZeroDivisionError: division by zero"


def test_damaged_records_of_a_trial_are_repaired_or_refused(home):
    with faults_files.record_check(home) as check:
        assert [check(number) for number in range(25)] == [None] * 25


def test_the_campaign_notices_a_changed_record(home, monkeypatch):
    def change(path, rng):
        if path.name == "journal.jsonl":
            lines = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join(line.replace(b"0.8", b"0.9").split(b',"checksum"')[0] + b"}\n" for line in lines))

    monkeypatch.setattr(faults_data, "BYTES", {"another number": change})
    with faults_files.record_check(home) as check:
        assert "changed" in check(0)


def test_the_campaign_stops_after_its_time_and_counts_its_cases():
    count = faults._tried(
        "things", ["good", "bad", "raises"], lambda item: {"good": None, "bad": "oh", "raises": None}[item], 60
    )

    assert str(count) == "things: 3 of 3 tried, 1 wrong\n    bad: oh"
    assert faults._tried("things", [1, 2], lambda item: None, -1).tried == 0


def test_the_shares_of_the_time_sum_to_one():
    assert sum(faults.SHARES.values()) == pytest.approx(1)


def test_the_campaign_reports_a_leftover_temporary_file_once(tmp_path):
    with faults._marked(tmp_path):
        (tmp_path / "tmp" / "forgotten").touch()

        assert faults._left_behind(tmp_path, faults._shared()) == ["left behind: temporary file forgotten"]
        assert faults._left_behind(tmp_path, faults._shared()) == []
