"""verl's ``core_algos``, as it is installed, loaded without the rest of verl.

Importing the package wants Ray, Hydra and TensorDict, of which the algorithms use nothing. So the
file is loaded by its path, with stand-ins for what it imports of the framework: the packages
``verl``, ``verl.utils``, ``verl.trainer`` and ``verl.workers`` are empty shells, ``AlgoConfig``,
``ActorConfig``, ``DictConfig`` and ``TensorDict`` bare classes, and ``verl.utils.device`` says that
this is a CPU. All else is verl's own: ``core_algos``, ``torch_functional``, ``groupwise``.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@dataclass(frozen=True, kw_only=True)
class ActorConfig:
    """What the losses read of verl's own."""

    clip_ratio: float = 0.2
    clip_ratio_low: float | None = None
    clip_ratio_high: float | None = None
    clip_ratio_c: float = 3.0
    policy_loss: SimpleNamespace = field(default_factory=SimpleNamespace)
    global_batch_info: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def installed() -> Path | None:
    """The folder of the package, found without running any of it."""
    spec = find_spec("verl")
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


@contextmanager
def loaded(package: Path) -> Iterator[ModuleType]:
    """``core_algos``; nothing of it or of the stand-ins stays importable."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        for name, module in _stand_ins(package).items():
            patch.setitem(sys.modules, name, module)
        groupwise = importlib.import_module("verl.utils.groupwise")
        for name in ("as_torch_index", "group_mean_std"):
            setattr(sys.modules["verl.utils"], name, getattr(groupwise, name))
        try:
            yield importlib.import_module("verl.trainer.ppo.core_algos")
        finally:
            for name in set(sys.modules) - before:
                if name.partition(".")[0] == "verl":
                    del sys.modules[name]


def _stand_ins(package: Path) -> dict[str, ModuleType]:
    shells = {
        name: _module(name, __path__=[str(package.joinpath(*name.split(".")[1:]))])
        for name in ("verl", "verl.utils", "verl.trainer", "verl.trainer.ppo", "verl.workers")
    }
    device = {"get_device_name": lambda: "cpu", "get_torch_device": lambda: None}
    leaves: dict[str, dict[str, Any]] = {
        "verl.trainer.config": {"AlgoConfig": type("AlgoConfig", (), {})},
        "verl.workers.config": {"ActorConfig": ActorConfig},
        "verl.utils.device": device,
        "omegaconf": {"DictConfig": type("DictConfig", (), {})},
        "tensordict": {"TensorDict": type("TensorDict", (), {})},
    }
    return shells | {name: _module(name, **held) for name, held in leaves.items()}


def _module(name: str, **held: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(held)
    return module
