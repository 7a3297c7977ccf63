import json
from dataclasses import replace
from pathlib import Path

import pytest

from penjing.hardware import gauge, probe
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Confidence
from penjing.hardware.host import Host
from penjing.hardware.precision import Precision
from penjing.hardware.probe import CudaDevice, Machine

HOST = Host(
    cpu="AMD EPYC 9654",
    cores=96,
    threads=192,
    instructions=("avx2", "avx512_bf16"),
    memory_bytes=768 * 2.0**30,
    available_bytes=700 * 2.0**30,
)
MACHINE = Machine(host=HOST, read_bytes_per_s=4e11, fp32_flops_per_s=6e12, measured_on="2026-11-20")


class Gauges:
    """Stands in for the timed runs and counts them."""

    def __init__(self) -> None:
        self.runs = 0

    def bandwidth(self, *_: object) -> float:
        self.runs += 1
        return 4e11


@pytest.fixture
def gauges(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gauges:
    """A machine whose measuring is instant and whose cache folder is empty."""
    counter = Gauges()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(probe, "read_host", lambda: HOST)
    monkeypatch.setattr(gauge, "read_bandwidth", counter.bandwidth)
    monkeypatch.setattr(gauge, "fp32_rate", lambda _: 6e12)
    monkeypatch.setattr(gauge, "import_torch", lambda: None)
    return counter


def cache(tmp_path: Path) -> Path:
    return tmp_path / "penjing" / "machine.json"


def test_a_machine_is_measured_once(gauges: Gauges) -> None:
    first = probe.probe()
    assert probe.probe() == first
    assert gauges.runs == 1
    assert (first.read_bytes_per_s, first.fp32_flops_per_s) == (4e11, 6e12)


def test_refresh_measures_again(gauges: Gauges) -> None:
    probe.probe()
    probe.probe(refresh=True)
    assert gauges.runs == 2


def test_another_core_count_is_another_machine(
    gauges: Gauges, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe.probe()
    monkeypatch.setattr(probe, "read_host", lambda: replace(HOST, cores=4))
    assert probe.probe().host.cores == 4
    assert gauges.runs == 2


def test_free_memory_is_of_now_not_of_the_cache(
    gauges: Gauges, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe.probe()
    monkeypatch.setattr(probe, "read_host", lambda: replace(HOST, available_bytes=1.0))
    assert probe.probe().host.available_bytes == 1.0
    assert gauges.runs == 1


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": 1}', "null", "\x00\xff"])
def test_a_damaged_cache_is_rewritten(gauges: Gauges, tmp_path: Path, damage: str) -> None:
    probe.probe()
    cache(tmp_path).write_text(damage, encoding="latin-1")
    probe.probe()
    assert gauges.runs == 2
    assert json.loads(cache(tmp_path).read_text())["machine"]["fp32_flops_per_s"] == 6e12


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("read_bytes_per_s", -1.0),
        ("fp32_flops_per_s", "fast"),
        ("measured_on", "yesterday"),
        ("colour", "red"),
        ("cuda", [{"name": "H20"}]),
    ],
)
def test_a_cache_that_makes_no_sense_is_rewritten(
    gauges: Gauges, tmp_path: Path, field: str, value: object
) -> None:
    probe.probe()
    document = json.loads(cache(tmp_path).read_text())
    document["machine"][field] = value
    cache(tmp_path).write_text(json.dumps(document))
    assert probe.probe().read_bytes_per_s == 4e11
    assert gauges.runs == 2


def test_the_cache_is_written_whole_and_leaves_nothing_beside_it(
    gauges: Gauges, tmp_path: Path
) -> None:
    probe.probe()
    assert [p.name for p in (tmp_path / "penjing").iterdir()] == ["machine.json"]


def test_a_cache_that_cannot_be_written_is_no_error(
    gauges: Gauges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert probe.probe().read_bytes_per_s == 4e11
    assert probe.probe().read_bytes_per_s == 4e11
    assert gauges.runs == 2


def test_what_was_not_measured_is_absent_from_the_chip() -> None:
    chip = MACHINE.as_chip()
    assert set(chip.compute_flops_per_s) == {Precision.FP32}
    assert chip.is_cpu
    assert (chip.vendor, chip.node_chips) == ("AMD", 1)
    assert chip.flops_per_s(Precision.FP32) == 6e12
    assert chip.capacity_bytes == 768 * 2.0**30
    assert chip.sources == {"probe": "measured on this machine, 2026-11-20"}


def test_what_was_measured_says_so() -> None:
    chip = replace(MACHINE, bf16_flops_per_s=2e13, int8_flops_per_s=4e13).as_chip()
    assert set(chip.compute_flops_per_s) == {Precision.FP32, Precision.BF16, Precision.INT8}
    figures = [*chip.compute_flops_per_s.values(), chip.memory.bandwidth_bytes_per_s]
    assert all(f and f.confidence is Confidence.MEASURED for f in figures)
    assert all(f and f.source == ("probe",) for f in figures)


def test_a_known_device_keeps_its_figures_but_has_its_real_memory() -> None:
    device = CudaDevice(name="NVIDIA H200", memory_bytes=143771 * 2.0**20, capability="9.0")
    (chip,) = replace(MACHINE, cuda=(device,)).accelerators(load_catalogue())
    assert chip.name == "H200 SXM"
    assert chip.capacity_bytes == 143771 * 2.0**20
    assert chip.bandwidth_bytes_per_s == 4.8e12
    assert {"probe", "nvidia"} <= set(chip.sources)


def test_an_unknown_device_has_its_memory_and_nothing_guessed() -> None:
    device = CudaDevice(name="NVIDIA Quux", memory_bytes=8 * 2.0**30, capability="7.5")
    (chip,) = replace(MACHINE, cuda=(device,)).accelerators(load_catalogue())
    assert (chip.name, chip.architecture) == ("NVIDIA Quux", "sm_75")
    assert dict(chip.compute_flops_per_s) == {}
    assert chip.memory.bandwidth_bytes_per_s is None


def test_this_machine_in_earnest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(probe, "_LIMIT_S", 0.02)
    machine = probe.probe(refresh=True)
    again = probe.probe()
    assert again == replace(machine, host=again.host)  # free memory moves meanwhile
    assert machine.as_chip().bandwidth_bytes_per_s > 1e8
