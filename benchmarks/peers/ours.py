"""Our engine, as it comes: answers do not depend on what else is in the batch."""

from answer import Generate, Requests, Setup, answer


def load(setup: Setup) -> tuple[str, Generate]:
    import torch

    from penjing import __version__
    from penjing.engine import Engine, Sampling

    torch.set_num_threads(setup["threads"])
    engine = Engine.load(
        setup["model"],
        device="cpu",
        dtype=setup["dtype"],
        max_length=setup["max_length"],
        max_sequences=setup["max_requests"],
        cache_bytes=setup["cache_bytes"],
    )

    def generate(requests: Requests) -> list[list[int]]:
        sampling = [Sampling(temperature=0, max_tokens=n, ignore_eos=True) for _, n in requests]
        found = engine.generate([ids for ids, _ in requests], sampling)
        return [list(completion.ids) for completion in found]

    return f"penjing {__version__}", generate


if __name__ == "__main__":
    answer(load)
