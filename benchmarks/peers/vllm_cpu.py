"""vLLM on a CPU, as its guide to CPUs sets it up: threads bound to cores, libraries preloaded."""

import json
import os
import sys
from ctypes.util import find_library
from pathlib import Path

from answer import Generate, Requests, Setup, answer

BOUND = "VLLM_CPU_OMP_THREADS_BIND"


def environment(setup: Setup) -> dict[str, str]:
    """Without a list of cores vLLM keeps one back, which is half of two."""
    cores = sorted(os.sched_getaffinity(0))[: setup["threads"]]
    return {
        BOUND: ",".join(map(str, cores)),
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "LD_PRELOAD": ":".join(preloads()),
    }


def preloads() -> list[str]:
    """tcmalloc and Intel's OpenMP, as vLLM's guide says, where they are installed."""
    malloc = find_library("tcmalloc_minimal")
    openmp = Path(sys.prefix) / "lib" / "libiomp5.so"
    return [*([malloc] if malloc else []), *([str(openmp)] if openmp.exists() else [])]


def load(setup: Setup) -> tuple[str, Generate]:
    import vllm

    engine = vllm.LLM(
        model=setup["model"],
        dtype=setup["dtype"],
        max_model_len=setup["max_length"],
        max_num_seqs=setup["max_requests"],
        kv_cache_memory_bytes=setup["cache_bytes"],
        enable_prefix_caching=True,
        skip_tokenizer_init=True,
        disable_log_stats=True,
    )

    def generate(requests: Requests) -> list[list[int]]:
        sampling = [
            vllm.SamplingParams(temperature=0, max_tokens=n, ignore_eos=True, detokenize=False)
            for _, n in requests
        ]
        prompts = [{"prompt_token_ids": ids} for ids, _ in requests]
        found = engine.generate(prompts, sampling, use_tqdm=False)
        return [list(request.outputs[0].token_ids) for request in found]

    return f"vllm {vllm.__version__}", generate


if __name__ == "__main__":
    if BOUND not in os.environ:  # a preload needs a new process
        os.environ |= environment(json.loads(sys.argv[1]))
        os.execv(sys.executable, [sys.executable, *sys.argv])
    answer(load)
