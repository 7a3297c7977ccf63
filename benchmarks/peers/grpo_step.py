"""What a side of grpo.py measures of itself, and how it is told. Only the standard library."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter


@dataclass
class Meter:
    """Seconds, and CPU seconds of all threads, by the name of what was going on."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        began, spent = perf_counter(), cpu_s()
        try:
            yield
        finally:
            self.seconds[name] = perf_counter() - began
            self.cpu_s[name] = cpu_s() - spent


def is_right(response: str) -> bool:
    """The judge of both sides: about half of what random weights say is right."""
    return sum(map(ord, response)) % 2 == 0


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_bytes() -> int:
    """Of resident memory of this process. Not ru_maxrss, which begins at that of the parent."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def say(version: str, meter: Meter, lengths: list[int]) -> None:
    """The last line of output is what the parent reads."""
    found = {
        "version": version,
        "tokens": sum(lengths),
        "step_s": meter.seconds["step"],
        "step_cpu_s": meter.cpu_s["step"],
        "rollout_s": meter.seconds["rollout"],
        "rollout_cpu_s": meter.cpu_s["rollout"],
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(found), flush=True)


def read_setup(path: str) -> dict:
    setup: dict = json.loads(Path(path).read_text(encoding="utf-8"))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return setup
