"""An engine in a process of its own: started, asked, stopped in between, ended.

What is not being asked is held by SIGSTOP, so that threads that spin while they wait take nothing
from the one that is.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_requests import Request

PEERS = Path(__file__).parent / "peers"
_START_LIMIT_S = 1200.0  # vLLM compiles its model when it is first loaded
_END_LIMIT_S = 20.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class NotRunError(Exception):
    """This engine gives no figure here; says why."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """``python`` None: nobody said where it is installed."""

    name: str
    script: str
    dtype: str
    python: str | None = sys.executable


@dataclass(frozen=True, kw_only=True)
class Answer:
    """``cpu_s`` of all its processes; ``seconds`` of the whole, prompts included."""

    seconds: float
    cpu_s: float
    ids: list[list[int]]

    @property
    def tokens(self) -> int:
        return sum(map(len, self.ids))

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds


class Peer:
    """A running engine; made by ``running``. ``version`` is what it calls itself."""

    def __init__(self, engine: Engine, setup: Mapping[str, Any], log: Path) -> None:
        if engine.python is None:
            raise NotRunError("no interpreter given")
        if not Path(engine.python).exists():
            raise NotRunError("the interpreter given does not exist")
        command = [engine.python, str(PEERS / engine.script)]
        self._log = log
        self._buffer = b""
        threads = str(setup["threads"])
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [*command, json.dumps({**setup, "dtype": engine.dtype})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"},
                start_new_session=True,
            )
        self.version: str = ""

    def start(self) -> None:
        self.version = self._read(_START_LIMIT_S)["ready"]
        self._signal(signal.SIGSTOP)

    def ask(self, requests: Sequence[Request], limit_s: float) -> Answer:
        """Raises ``NotRunError`` where it fails, takes longer, or gives other lengths."""
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        before = self._cpu_s()
        try:
            self._process.stdin.write(json.dumps(requests).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise NotRunError(self._why_it_ended()) from None
        found = self._read(limit_s)
        spent = self._cpu_s() - before
        self._signal(signal.SIGSTOP)
        if [len(ids) for ids in found["ids"]] != [tokens for _, tokens in requests]:
            raise NotRunError("it generated other numbers of tokens than asked for")
        return Answer(seconds=found["seconds"], cpu_s=spent, ids=found["ids"])

    def end(self) -> None:
        self._signal(signal.SIGCONT)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_LIMIT_S)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _read(self, limit_s: float) -> dict[str, Any]:
        line = self._line(time.monotonic() + limit_s)
        if line is None:
            raise NotRunError(f"no answer within {limit_s:,.0f} s")
        if not line:
            raise NotRunError(self._why_it_ended())
        found: dict[str, Any] = json.loads(line)
        if "failed" in found:
            raise NotRunError(without_folders(found["failed"]))
        return found

    def _line(self, deadline: float) -> bytes | None:
        """The next line, empty at the end of output, None when time is up."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                chunk = os.read(self._process.stdout.fileno(), 1 << 16)
                if not chunk:
                    return b""
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _why_it_ended(self) -> str:
        status = self._process.wait()
        if status < 0:
            return f"ended by {signal.Signals(-status).name}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return without_folders(lines[-1]) if lines else f"exit status {status}"

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._processes():
            with suppress(ProcessLookupError):  # it ended by itself
                os.kill(pid, number)

    def _cpu_s(self) -> float:
        return sum(self._processes().values())

    def _processes(self) -> dict[int, float]:
        """CPU seconds of every process of its session, by id."""
        found = {}
        for file in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = file.read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            if int(fields[3]) == self._process.pid:
                found[int(file.parent.name)] = sum(map(int, fields[11:13])) / _TICKS_PER_S
        return found


@contextmanager
def running(engine: Engine, setup: Mapping[str, Any]) -> Iterator[Peer]:
    """Loaded and held; raises ``NotRunError`` with the reason where it cannot be."""
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(engine, setup, Path(folder) / "errors")
        try:
            peer.start()
            yield peer
        finally:
            peer.end()


def without_folders(text: str) -> str:
    """Paths cut to their last part, and a sane length."""
    return re.sub(r"(?:/[\w.+-]+)+/([\w.+-]+)", r"\1", text)[:200]
