"""Questions answered in processes of their own, which may hang, eat memory or die.

A worker takes a question and gives its answer, one at a time, as lines of JSON through pipes. It
is a plain child process, neither forked nor spawned by ``multiprocessing``: so it can be asked from
any thread, from a process that was forked or spawned, and beside an event loop. It has none of this
process's environment but what Python needs, and ends when this process does, however that ends.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

START_S = 60.0  # imports, on a busy machine
GRACE_S = 0.5  # between the worker's own limit and its end
_KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


class Why(StrEnum):
    TIMEOUT = "timeout"
    MEMORY = "memory"
    RAISED = "raised"
    DIED = "died"
    LOAD = "load"  # the function could not be had


@dataclass(frozen=True, kw_only=True)
class Failure:
    why: Why
    message: str  # one line


@dataclass
class _Pool:
    """Of one process: a fork has the same pipes, and must not use them."""

    pid: int
    slots: threading.Semaphore
    idle: "list[_Worker]" = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    all: "set[_Worker]" = field(default_factory=set)


class Workers:
    """``target`` is ``module:function`` or ``path.py:function``; the function maps JSON to JSON.

    ``limit_s`` and ``memory_bytes`` bound one question and one worker. At most ``most`` workers
    are started, when needed, and they stay for the next question; ``close`` ends them, and so does
    the end of this object.
    """

    def __init__(
        self, target: str, *, limit_s: float, memory_bytes: int = 2 << 30, most: int | None = None
    ) -> None:
        self._arguments = [target, str(limit_s), str(memory_bytes)]
        self._limit_s = limit_s
        self._most = most or os.cpu_count() or 1
        self._pool = self._new_pool()

    def ask(self, question: Mapping[str, Any]) -> Any | Failure:
        """What the function returns; waits while all workers are busy. Never raises for it."""
        pool = self._own_pool()
        with pool.slots:
            try:
                worker = self._idle(pool)
            except _Ended as ended:
                return ended.failure
            try:
                answer = worker.ask(question, self._limit_s + GRACE_S)
            except BaseException as error:  # an interrupt too: nobody would read its answer
                worker.end()
                pool.all.discard(worker)
                if isinstance(error, _Ended):
                    return error.failure
                raise
            with pool.lock:
                pool.idle.append(worker)
            return answer

    def close(self) -> None:
        _close(self._own_pool())

    def _own_pool(self) -> _Pool:
        if self._pool.pid != os.getpid():
            self._pool = self._new_pool()
        return self._pool

    def _new_pool(self) -> _Pool:
        pool = _Pool(os.getpid(), threading.Semaphore(self._most))
        weakref.finalize(self, _close, pool)
        return pool

    def _idle(self, pool: _Pool) -> "_Worker":
        with pool.lock:
            if pool.idle:
                return pool.idle.pop()
        worker = _Worker(self._arguments)
        pool.all.add(worker)
        return worker


def _close(pool: _Pool) -> None:
    if pool.pid != os.getpid():
        return
    for worker in list(pool.all):
        worker.end()
    pool.all.clear()
    pool.idle.clear()


class _Ended(Exception):
    def __init__(self, why: Why, message: str) -> None:
        self.failure = Failure(why=why, message=message)


class _Worker:
    def __init__(self, arguments: list[str]) -> None:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "penjing.tasks.worker_child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for us to handle
        )
        self._read = b""
        try:
            self._answer(START_S)
        except BaseException:
            self.end()
            raise

    def ask(self, question: Mapping[str, Any], limit_s: float) -> Any | Failure:
        """Raises ``_Ended`` where the worker is of no more use."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise _Ended(Why.DIED, "the worker died before it was asked") from None
        return self._answer(limit_s)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what was not written yet
                pipe.close()

    def _answer(self, limit_s: float) -> Any | Failure:
        found = json.loads(self._line(limit_s))
        if "failure" not in found:
            return found["answer"]
        failure = Failure(why=Why(found["failure"]), message=found["message"])
        if failure.why in (Why.LOAD, Why.MEMORY):
            raise _Ended(failure.why, failure.message)
        return failure

    def _line(self, limit_s: float) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        ends = time.monotonic() + limit_s
        while b"\n" not in self._read:
            ready, _, _ = select.select([stdout], [], [], max(0.0, ends - time.monotonic()))
            if not ready:
                raise _Ended(Why.TIMEOUT, f"no answer within {limit_s:g} s")
            part = os.read(stdout.fileno(), 1 << 16)
            if not part:
                code = self._process.wait()
                raise _Ended(Why.DIED, f"the worker ended with status {code}")
            self._read += part
        line, _, self._read = self._read.partition(b"\n")
        return line
