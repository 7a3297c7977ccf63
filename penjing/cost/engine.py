"""What the software around the kernels adds: host time, batching limits.

These numbers describe serving engines, not chips. They were set on the medians of whole sources
of public measurements (docs/results.md reports the error on sources and chips left out), the
same for every chip.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from penjing.errors import UnknownName

# Kernels back to back in a model run slower than alone in a loop: caches are cold, and clocks give
# way to power. One number for every chip and engine.
IN_A_MODEL = 1.10


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A serving engine as the cost model sees it.

    A step costs ``step_s`` on the host beside the device time, ``sequence_s`` more for each
    running sequence (sampling, detokenisation, bookkeeping). Where kernels are launched one by
    one instead of replayed as a graph, a pass takes at least ``layer_s`` a layer when decoding
    and ``prefill_layer_s`` when prefilling. ``mixes_prefill``: decoding goes on between chunks.
    """

    name: str
    step_s: float
    sequence_s: float
    layer_s: float = 0.0
    prefill_layer_s: float = 0.0
    mixes_prefill: bool = True
    max_sequences: int = 1024
    prefill_tokens: int = 8192  # tokens of one prefill pass or chunk


ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        e.name: e
        for e in (
            Engine(
                name="tensorrt-llm",
                step_s=0.5e-3,
                sequence_s=2e-6,
                prefill_layer_s=0.05e-3,
                max_sequences=2048,
            ),
            Engine(
                name="sglang",
                step_s=1.5e-3,
                sequence_s=5e-6,
                prefill_layer_s=0.25e-3,
                mixes_prefill=False,
                max_sequences=2048,
            ),
            Engine(name="vllm", step_s=2.0e-3, sequence_s=10e-6, prefill_layer_s=0.25e-3),
            Engine(
                name="vllm-ascend",
                step_s=3e-3,
                sequence_s=20e-6,
                layer_s=0.8e-3,
                prefill_layer_s=0.8e-3,
                max_sequences=256,
            ),
            Engine(
                name="mindie",
                step_s=3e-3,
                sequence_s=20e-6,
                layer_s=0.3e-3,
                prefill_layer_s=0.3e-3,
                max_sequences=200,
            ),
            Engine(
                name="transformers",
                step_s=2e-3,
                sequence_s=20e-6,
                layer_s=0.6e-3,
                prefill_layer_s=0.6e-3,
            ),
            Engine(name="llama.cpp", step_s=0.3e-3, sequence_s=20e-6, max_sequences=64),
        )
    }
)
DEFAULT_ENGINE = "sglang"


def engine_named(name: str) -> Engine:
    """The engine of that name; raises ``UnknownName``."""
    try:
        return ENGINES[name.lower()]
    except KeyError:
        raise UnknownName("engine", name, ENGINES) from None
