"""What the operating system says of this machine: processor, cores, memory, instruction sets.

Limits of a container (cgroup version 2) count: a process that may use 2 of 64 cores has 2.
"""

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from penjing.errors import RequestError

# The sets that decide which kernels run fast; x86 names as in /proc/cpuinfo, then Arm's.
_INSTRUCTIONS = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "i8mm", "bf16", "sve", "sve2"),
)


@dataclass(frozen=True, kw_only=True)
class Host:
    """``cores`` are physical, ``threads`` logical; both only those this process may use."""

    cpu: str
    cores: int
    threads: int
    instructions: tuple[str, ...]
    memory_bytes: float
    available_bytes: float


def read_host(root: Path = Path("/")) -> Host:
    """``root`` is where ``proc`` and ``sys`` hang; raises ``RequestError`` on a foreign system."""
    if sys.platform == "darwin":
        return _read_mac()
    if not (root / "proc/meminfo").exists():
        raise RequestError(
            f"this machine cannot be measured: no /proc on {sys.platform}; "
            "describe it in a chip file and pass its .toml path"
        )
    processors = _processors(_text(root / "proc/cpuinfo"))
    threads = _usable_threads(root)
    memory = _meminfo(_text(root / "proc/meminfo"))
    limit = _number(_text(root / "sys/fs/cgroup/memory.max"), memory["MemTotal"])
    flags = processors[0].get("flags", processors[0].get("Features", "")).split()
    return Host(
        cpu=processors[0].get("model name") or platform.processor() or platform.machine(),
        cores=min(threads, _physical_cores(processors)),
        threads=threads,
        instructions=tuple(i for i in _INSTRUCTIONS if i in flags),
        memory_bytes=min(memory["MemTotal"], limit),
        available_bytes=min(memory.get("MemAvailable", memory["MemTotal"]), limit),
    )


def _processors(cpuinfo: str) -> list[dict[str, str]]:
    blocks = []
    for block in cpuinfo.strip().split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        blocks.append({key.strip(): value.strip() for key, _, value in pairs})
    return blocks


def _physical_cores(processors: list[dict[str, str]]) -> int:
    usable = _affinity()
    ours = [p for p in processors if int(p.get("processor", -1)) in usable]
    cores = {(p.get("physical id"), p["core id"]) for p in ours if "core id" in p}
    return len(cores) or len(usable)


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _usable_threads(root: Path) -> int:
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").strip().partition(" ")
    allowed = len(_affinity())
    if quota.isdigit() and period.isdigit():
        allowed = min(allowed, max(1, round(int(quota) / int(period))))
    return allowed


def _meminfo(text: str) -> dict[str, float]:
    found = re.findall(r"^(\w+):\s+(\d+) kB$", text, flags=re.MULTILINE)
    return {key: float(value) * 1024 for key, value in found}


def _number(text: str, default: float) -> float:
    return float(text) if text.strip().isdigit() else default


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # not on this kernel


def _read_mac() -> Host:
    memory = float(_sysctl("hw.memsize"))
    arm = {"bf16": "hw.optional.arm.FEAT_BF16", "i8mm": "hw.optional.arm.FEAT_I8MM"}
    return Host(
        cpu=_sysctl("machdep.cpu.brand_string"),
        cores=int(_sysctl("hw.physicalcpu")),
        threads=int(_sysctl("hw.logicalcpu")),
        instructions=tuple(i for i, key in arm.items() if _sysctl(key) == "1"),
        memory_bytes=memory,
        available_bytes=memory,  # macOS hands out compressed and cached pages on demand
    )


def _sysctl(key: str) -> str:
    done = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, check=False)
    return done.stdout.strip()
