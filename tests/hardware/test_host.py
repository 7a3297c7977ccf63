import os
import sys
from pathlib import Path

import pytest

from penjing.errors import RequestError
from penjing.hardware.host import read_host

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="reads /proc")

CPUINFO = """processor\t: {0}
model name\t: Acme 9000 @ 2.0GHz
physical id\t: 0
core id\t\t: {1}
flags\t\t: fpu avx2 avx512f amx_bf16
"""
MEMINFO = "MemTotal:       32768 kB\nMemFree: 1 kB\nMemAvailable:   16384 kB\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of four threads on two cores with 32 MiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    (tmp_path / "proc").mkdir()
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    blocks = [CPUINFO.format(thread, thread // 2) for thread in range(4)]
    (tmp_path / "proc/cpuinfo").write_text("\n".join(blocks))
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    return tmp_path


def test_a_plain_machine(root: Path) -> None:
    host = read_host(root)
    assert (host.cpu, host.cores, host.threads) == ("Acme 9000 @ 2.0GHz", 2, 4)
    assert host.instructions == ("avx2", "avx512f", "amx_bf16")
    assert (host.memory_bytes, host.available_bytes) == (32768 * 1024, 16384 * 1024)


def test_only_the_cores_we_may_use_count(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3}, raising=False)
    host = read_host(root)
    assert (host.cores, host.threads) == (1, 2)


def test_a_containers_limits_count(root: Path) -> None:
    (root / "sys/fs/cgroup/cpu.max").write_text("100000 100000\n")
    (root / "sys/fs/cgroup/memory.max").write_text(f"{8 * 2**20}\n")
    host = read_host(root)
    assert (host.cores, host.threads) == (1, 1)
    assert (host.memory_bytes, host.available_bytes) == (8 * 2**20, 8 * 2**20)


def test_a_container_without_limits(root: Path) -> None:
    (root / "sys/fs/cgroup/cpu.max").write_text("max 100000\n")
    (root / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert (read_host(root).threads, read_host(root).memory_bytes) == (4, 32768 * 1024)


def test_arm_says_features(root: Path) -> None:
    (root / "proc/cpuinfo").write_text("processor\t: 0\nFeatures\t: asimd bf16 sve\n")
    host = read_host(root)
    assert host.instructions == ("asimd", "bf16", "sve")
    assert host.cpu


def test_a_system_without_proc_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"pass its \.toml path$"):
        read_host(tmp_path)


def test_this_machine() -> None:
    host = read_host()
    assert 1 <= host.cores <= host.threads <= (os.cpu_count() or 1)
    assert 2**27 < host.available_bytes <= host.memory_bytes
