"""The campaign of faults does what it says: a fault that does not happen would be survived by anything."""

from __future__ import annotations

import http.client
import random
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from benchmarks import faults, faults_data, faults_files, faults_server


class Echo(BaseHTTPRequestHandler):
    """Answers with what it got, and keeps it."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


@pytest.fixture
def network():
    there = HTTPServer(("127.0.0.1", 0), Echo)
    there.got = []
    threading.Thread(target=there.serve_forever, daemon=True).start()
    network = faults_server.Network(there.server_address[1], random.Random(0))
    network.there = there
    yield network
    for server in (network, there):
        server.shutdown()
        server.server_close()


def ask(network, body=b"what was asked"):
    """Returns status and content of an answer, or None for none."""
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
        (None, (200, b"what was asked"), True), ("refused", None, False), ("lost", None, True), ("error", (503, b"no"), False),
        ("error after it was done", (500, b"no"), True), ("cut", None, True),
    ],
)  # fmt: skip
def test_each_fault_of_the_network_is_what_it_is_called(network, monkeypatch, fault, answer, is_done):
    monkeypatch.setattr(network, "fault", lambda: fault)

    assert ask(network) == answer and network.there.got == [b"what was asked"] * is_done


def test_a_network_that_is_no_longer_bad_passes_everything_on(network):
    answers = {ask(network) is None for _ in range(60)}
    network.is_bad = False

    assert answers == {True, False} and network.happened.total() > 0
    assert {ask(network) for _ in range(20)} == {(200, b"what was asked")}


def test_a_child_answers_with_what_it_read_or_what_it_raised():
    assert faults_files.forked(lambda: "read") == "read"
    assert faults_files.forked(lambda: str(1 / 0)) == "ZeroDivisionError: division by zero"


def test_damaged_records_of_a_trial_are_repaired_or_refused(home):
    with faults_files.record_check(home) as check:
        assert [check(number) for number in range(25)] == [None] * 25


def test_a_record_that_says_something_else_is_noticed_by_the_campaign(home, monkeypatch):
    def other(path, rng):
        if path.name == "journal.jsonl":
            lines = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join(line.replace(b"0.8", b"0.9").split(b',"checksum"')[0] + b"}\n" for line in lines))

    monkeypatch.setattr(faults_data, "BYTES", {"another number": other})
    with faults_files.record_check(home) as check:
        assert "changed" in check(0)


def test_what_is_tried_stops_with_its_time_and_says_how_many_there_were():
    count = faults._tried(
        "things", ["good", "bad", "raises"], lambda item: {"good": None, "bad": "oh", "raises": None}[item], 60
    )

    assert str(count) == "things: 3 of 3 tried, 1 wrong\n    bad: oh"
    assert faults._tried("things", [1, 2], lambda item: None, -1).tried == 0


def test_every_kind_has_a_share_and_all_of_the_time_is_shared():
    assert sum(faults.SHARES.values()) == pytest.approx(1)


def test_a_temporary_file_that_stays_is_named_once(tmp_path):
    with faults._marked(tmp_path):
        (tmp_path / "tmp" / "forgotten").touch()

        assert faults._left_behind(tmp_path, faults._shared()) == ["left behind: temporary file forgotten"]
        assert faults._left_behind(tmp_path, faults._shared()) == []
