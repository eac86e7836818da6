"""Runs a command, and ends all of its processes with it: `python supervisor.py STATUS_FD WORD …`.

It is a process between a trial and its program. It supervises in a child of its own, because some launchers kill a
worker together with its children (Ray does), and only a grandchild is left then. Its standard input is a pipe that only
the trial holds: when the trial ends in any way, even by SIGKILL, the pipe closes, and the supervisor ends the program.
On Linux it adopts the orphans of the program (PR_SET_CHILD_SUBREAPER), so that a process which leaves its group and its
parent is found too. If the supervisor itself is killed, Linux kills the program (PR_SET_PDEATHSIG), and the trial ends
what is left.

It writes two lines of JSON to STATUS_FD: the process id of the program, and how it ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from typing import Any

import psutil

GRACE_S = 5.0  # between SIGTERM and SIGKILL
LEFT_S = 5.0  # to wait for killed processes
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def main() -> None:
    """Runs the command of this process' arguments."""
    status, command = int(sys.argv[1]), sys.argv[2:]
    if child := os.fork():  # this process has no threads
        _wait(child, status)
        return
    os.setsid()
    os.set_inheritable(status, False)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    waked, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    try:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_supervisor,  # noqa: PLW1509  this process has no threads
        )
    except (OSError, ValueError) as error:
        _say(status, {"error": getattr(error, "strerror", None) or str(error)})
        return
    _say(status, {"pid": program.pid})
    ended: dict[int, int] = {}
    while program.pid not in ended:
        ready, _, _ = select.select([0, waked], [], [])
        if waked in ready and set(os.read(waked, 4_096)) - {signal.SIGCHLD}:
            break
        if 0 in ready:  # the trial never writes, so the pipe is closed
            break
        _reap(ended)
    end_tree(program.pid, ended)
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak = used / 1_024 if sys.platform == "linux" else used / 1_024**2  # kilobytes, or bytes
    _say(status, {"code": ended.get(program.pid), "peak_mb": peak})


def _wait(child: int, status: int) -> None:
    """Waits for the supervising child, without its pipes, so that each ends with it."""
    for number in (0, 1, 2, status):
        os.close(number)
    os.waitpid(child, 0)
    os._exit(0)  # nothing is left to flush


def end_tree(group: int, ended: dict[int, int]) -> None:
    """Ends what is left of a program: asks by SIGTERM, waits, and kills.

    Args:
      group: process id of the program, which leads its group.
      ended: process id → exit code of the processes that have ended; it is updated.
    """
    for number, seconds in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, LEFT_S)):
        deadline = time.monotonic() + seconds
        asked: set[int] = set()
        while left := _left(group, ended):
            for process in left:
                if process.pid not in asked or number == signal.SIGKILL:  # one that forks is killed again and again
                    asked.add(process.pid)
                    _send(process.pid, number)
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)


def _left(group: int, ended: dict[int, int]) -> list[psutil.Process]:
    """Returns the processes of the program that still run."""
    _reap(ended)
    found = {process.pid: process for process in psutil.Process().children(recursive=True)}
    if sys.platform != "linux":  # orphans are not adopted, but most stay in the group
        found |= {process.pid: process for process in psutil.process_iter() if _group(process.pid) == group}
    return [process for process in found.values() if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        return


def _reap(ended: dict[int, int]) -> None:
    """Notes the exit codes of the children that have ended, adopted ones included."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        ended[pid] = os.waitstatus_to_exitcode(status)


def _die_with_supervisor() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _say(status: int, values: dict[str, Any]) -> None:
    try:
        os.write(status, json.dumps(values).encode() + b"\n")
    except OSError:  # the trial has ended
        return


if __name__ == "__main__":
    main()
