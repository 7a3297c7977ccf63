"""Workers that hang, die and are asked from everywhere; nothing of them is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penjing.tasks.workers import Failure, Why, Workers

CODE = """
import os, signal, time

def serve(q):
    match q["do"]:
        case "double":
            return q["n"] * 2
        case "hang":
            while True:
                time.sleep(0.01)
        case "hang for good":
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            while True:
                pass
        case "eat":
            return len("x" * (4 << 30))
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "print":
            print("noise", flush=True)
            return "quiet"
        case "environment":
            return sorted(os.environ)
        case "pid":
            return os.getpid()
"""


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    (tmp_path / "served.py").write_text(CODE, encoding="utf-8")
    made = Workers(f"{tmp_path / 'served.py'}:serve", limit_s=0.3, memory_bytes=1 << 30, most=2)
    yield made
    made.close()


def why(found: object) -> Why:
    assert isinstance(found, Failure)
    assert "\n" not in found.message
    return found.why


def double(workers: Workers, n: int) -> object:
    return workers.ask({"do": "double", "n": n})


def children() -> set[int]:
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(pid) for one in found for pid in one.read_text().split()}


def test_answers(workers: Workers) -> None:
    assert double(workers, 4) == 8
    assert workers.ask({"do": "print"}) == "quiet"
    assert workers.ask({"do": "pid"}) == workers.ask({"do": "pid"})  # it stays


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("hang", Why.TIMEOUT),
        ("hang for good", Why.TIMEOUT),
        ("eat", Why.MEMORY),
        ("die", Why.DIED),
    ],
)
def test_the_next_question_is_answered_whatever_the_last_one_did(
    workers: Workers, what: str, reason: Why
) -> None:
    double(workers, 1)
    began = time.monotonic()
    assert why(workers.ask({"do": what})) is reason
    assert time.monotonic() - began < 5
    assert double(workers, 5) == 10


def test_a_worker_that_was_killed_is_replaced(workers: Workers) -> None:
    pid = workers.ask({"do": "pid"})
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/cmdline").read_bytes():  # a zombie has none
        time.sleep(0.01)
    assert why(double(workers, 1)) is Why.DIED
    assert double(workers, 1) == 2


def test_no_secret_reaches_a_worker(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    found = workers.ask({"do": "environment"})
    assert isinstance(found, list)
    assert "PATH" in found
    assert "OPENAI_API_KEY" not in found


def test_many_threads_share_few_workers_and_nothing_leaks(workers: Workers) -> None:
    before, threads = children(), threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: double(workers, n), range(1000)))
    assert found == [2 * n for n in range(1000)]
    assert len(children() - before) <= 2
    workers.close()
    assert children() - before == set()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_fork_has_workers_of_its_own(workers: Workers) -> None:
    ours = workers.ask({"do": "pid"})
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        theirs = workers.ask({"do": "pid"})
        os.write(writing, b"other" if theirs != ours and isinstance(theirs, int) else b"same")
        workers.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 9) == b"other"
    os.close(reading)
    os.close(writing)
    assert workers.ask({"do": "pid"}) == ours


def _in_a_spawned_process(target: str) -> object:
    made = Workers(target, limit_s=1.0)
    try:
        return double(made, 21)
    finally:
        made.close()


def test_spawned_processes_may_ask(workers: Workers) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_in_a_spawned_process, (workers._arguments[0],)) == 42


def test_workers_end_with_whoever_started_them(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(CODE, encoding="utf-8")
    program = (
        "import os, sys, time\nfrom penjing.tasks.workers import Workers\n"
        f"made = Workers({str(tmp_path / 'served.py')!r} + ':serve', limit_s=1.0)\n"
        "print(made.ask({'do': 'pid'}), flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    ends = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < ends:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("target", ["nothing.py:f", "penjing.tasks.workers:lacking", "none:f"])
def test_what_cannot_be_loaded_is_said(target: str) -> None:
    made = Workers(target, limit_s=1.0)
    assert why(double(made, 1)) is Why.LOAD
    made.close()
