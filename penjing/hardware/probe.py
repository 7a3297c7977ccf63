"""This machine as a chip: measured once in a few seconds, remembered in the cache folder."""

import json
import os
import platform
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from penjing import __version__
from penjing.errors import UnknownName
from penjing.hardware import gauge
from penjing.hardware.catalogue import Catalogue
from penjing.hardware.chip import Chip, Confidence, Figure, Memory
from penjing.hardware.host import Host, read_host
from penjing.hardware.precision import Precision
from penjing.units import format_bytes, format_si

_LIMIT_S = 1.2  # for each of four gauges; with torch's import the whole stays under ten seconds


@dataclass(frozen=True, kw_only=True)
class CudaDevice:
    """A CUDA device as its driver reports it; ``capability`` as in ``9.0``."""

    name: str
    memory_bytes: float
    capability: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Rates are the best measured, over all usable cores; ``None`` where nothing could measure."""

    host: Host
    read_bytes_per_s: float
    fp32_flops_per_s: float
    bf16_flops_per_s: float | None = None
    int8_flops_per_s: float | None = None
    cuda: tuple[CudaDevice, ...] = ()
    measured_on: str

    def as_chip(self) -> Chip:
        """The processor with its memory; a rate that was not measured is absent, not guessed."""
        rates = {
            Precision.FP32: self.fp32_flops_per_s,
            Precision.BF16: self.bf16_flops_per_s,
            Precision.INT8: self.int8_flops_per_s,
        }
        arm = platform.machine().lower() in ("arm64", "aarch64")
        capacity = self.host.memory_bytes
        return Chip(
            name="here",
            vendor=_vendor(self.host.cpu),
            variant=f"{self.host.cpu}, {self.host.cores} cores, {self.host.threads} threads",
            family="here",
            architecture="cpu-arm" if arm else "cpu-x86",
            year=int(self.measured_on[:4]),
            is_cpu=True,
            compute_flops_per_s={
                p: _measured(rate, format_si(rate, "FLOP/s")) for p, rate in rates.items() if rate
            },
            memory=Memory(
                type="main memory",
                capacity_bytes=_measured(capacity, format_bytes(capacity)),
                bandwidth_bytes_per_s=_measured(
                    self.read_bytes_per_s, format_si(self.read_bytes_per_s, "B/s")
                ),
            ),
            node_chips=1,
            notes=(f"Instruction sets: {', '.join(self.host.instructions) or 'none known'}.",),
            sources={"probe": f"measured on this machine, {self.measured_on}"},
        )

    def accelerators(self, catalogue: Catalogue) -> tuple[Chip, ...]:
        """One chip a CUDA device: the catalogue's figures, the driver's memory size."""
        return tuple(_accelerator(d, catalogue, self.measured_on) for d in self.cuda)


def probe(refresh: bool = False) -> Machine:
    """This machine, from the cache unless ``refresh`` or something about it changed."""
    host = read_host()
    path = _cache_path()
    key = _key(host)
    kept = None if refresh or path is None else _recall(path, key)
    if kept is not None:
        return replace(kept, host=host)  # free memory is as of now
    machine = _measure(host)
    if path is not None:
        _remember(path, key, machine)
    return machine


def _measure(host: Host) -> Machine:
    bandwidth = gauge.read_bandwidth(host.threads, host.available_bytes, _LIMIT_S)
    fp32 = gauge.fp32_rate(_LIMIT_S)
    torch = gauge.import_torch()
    return Machine(
        host=host,
        read_bytes_per_s=bandwidth,
        fp32_flops_per_s=fp32,
        bf16_flops_per_s=gauge.bf16_rate(torch, _LIMIT_S) if torch else None,
        int8_flops_per_s=gauge.int8_rate(torch, _LIMIT_S) if torch else None,
        cuda=_cuda_devices(torch) if torch else (),
        measured_on=date.today().isoformat(),
    )


def _cuda_devices(torch: Any) -> tuple[CudaDevice, ...]:
    if not torch.cuda.is_available():
        return ()
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return tuple(
        CudaDevice(
            name=p.name, memory_bytes=float(p.total_memory), capability=f"{p.major}.{p.minor}"
        )
        for p in found
    )


def _accelerator(device: CudaDevice, catalogue: Catalogue, measured_on: str) -> Chip:
    memory = _measured(device.memory_bytes, format_bytes(device.memory_bytes))
    sources = {"probe": f"reported by the driver on this machine, {measured_on}"}
    try:
        chip = catalogue.find(device.name).chip
    except UnknownName:
        return Chip(
            name=device.name,
            vendor="NVIDIA",
            variant="not in the catalogue",
            family=device.name,
            architecture=f"sm_{device.capability.replace('.', '')}",
            year=int(measured_on[:4]),
            memory=Memory(type="device memory", capacity_bytes=memory),
            notes=("The catalogue does not know this device; only its memory size is known",),
            sources=sources,
        )
    return replace(
        chip,
        memory=replace(chip.memory, capacity_bytes=memory),
        sources={**chip.sources, **sources},
    )


def _measured(value: float, text: str) -> Figure:
    return Figure(value=value, text=text, source=("probe",), confidence=Confidence.MEASURED)


def _vendor(cpu: str) -> str:
    known = ("Intel", "AMD", "Apple", "Ampere", "Huawei", "Hygon")
    return next((v for v in known if v.lower() in cpu.lower()), "unknown")


def _key(host: Host) -> dict[str, object]:
    return {
        "version": __version__,
        "cpu": host.cpu,
        "cores": host.cores,
        "threads": host.threads,
        "torch": find_spec("torch") is not None,
        "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def _cache_path() -> Path | None:
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None  # a user without a home
    return folder / "penjing" / "machine.json"


def _recall(path: Path, key: dict[str, object]) -> Machine | None:
    """What the cache holds for ``key``; ``None`` where it is missing, foreign or damaged."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["key"] != key:
            return None
        kept = document["machine"]
        host = kept.pop("host")
        instructions = tuple(str(i) for i in host.pop("instructions"))
        cuda = tuple(CudaDevice(**device) for device in kept.pop("cuda"))
        machine = Machine(host=Host(instructions=instructions, **host), cuda=cuda, **kept)
        return machine if _is_sane(machine) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _is_sane(machine: Machine) -> bool:
    rates = [machine.read_bytes_per_s, machine.fp32_flops_per_s]
    rates += [r for r in (machine.bf16_flops_per_s, machine.int8_flops_per_s) if r is not None]
    rates += [device.memory_bytes for device in machine.cuda]
    date.fromisoformat(machine.measured_on)
    return all(0 < r < 1e18 for r in rates)


def _remember(path: Path, key: dict[str, object], machine: Machine) -> None:
    text = json.dumps({"key": key, "machine": asdict(machine)}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=path.name, delete=False
        ) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError:
        return  # a cache that cannot be written costs the next run seconds, nothing else
