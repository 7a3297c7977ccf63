"""llama.cpp through the C interface of llama-cpp-python: one request at a time, logits of its end.

The checkpoint is written as GGUF first, into its own folder.
"""

import json
import sys
from pathlib import Path

import write_gguf
from answer import Generate, Requests, Setup, answer


def load(setup: Setup) -> tuple[str, Generate]:
    import llama_cpp

    context = opened(llama_cpp, gguf_of(Path(setup["model"])), setup)
    greedy = llama_cpp.llama_sampler_init_greedy()

    def one(ids: list[int], tokens: int) -> list[int]:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        found: list[int] = []
        step = ids
        while True:
            held = (llama_cpp.llama_token * len(step))(*step)
            batch = llama_cpp.llama_batch_get_one(held, len(step))
            if llama_cpp.llama_decode(context, batch) != 0:
                raise RuntimeError("llama_decode failed")
            found.append(llama_cpp.llama_sampler_sample(greedy, context, -1))
            if len(found) == tokens:
                return found
            step = found[-1:]

    def generate(requests: Requests) -> list[list[int]]:
        return [one(ids, tokens) for ids, tokens in requests]

    return f"llama-cpp-python {llama_cpp.__version__}", generate


def opened(llama_cpp, file: Path, setup: Setup):
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        str(file).encode(), llama_cpp.llama_model_default_params()
    )
    if not model:
        raise RuntimeError("llama.cpp does not load the GGUF file")
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = setup["max_length"]
    parameters.n_threads = parameters.n_threads_batch = setup["threads"]
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        raise RuntimeError("llama.cpp makes no context")
    return context


def gguf_of(folder: Path) -> Path:
    file = folder / "model.gguf"
    if not file.exists():
        write_gguf.write(folder, file)
    return file


if __name__ == "__main__":
    if json.loads(sys.argv[1])["dtype"] != "bfloat16":
        raise SystemExit("bf16 alone")
    answer(load)
