"""Our engine beside others on this machine's CPU, in rounds: ours, theirs, ours, theirs.

    python benchmarks/engine.py [--vllm-python PATH] [--llama-python PATH] [--rounds N]

Others are Hugging Face's ``generate`` in this interpreter, vLLM and llama.cpp in those given.
Random weights; greedy, and no token ends an answer. Writes `benchmarks/results/engine.json` (with
machine, commit and date) and the tables of docs/results.md. An engine that cannot run here, or
takes longer than the limit for one round, is written down as not run, with the reason.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from checkpoints import TINY_R1, bundled, weight_bytes, write_checkpoint
from engine_peer import Engine, NotRunError, Peer, running
from engine_report import Contest, Round, faster, machine_document, parts
from engine_requests import Case, Even, Ragged, warm_up
from result import publish, save

from penjing.cli.answer import Json
from penjing.hardware.probe import probe

DENSE, LATENT = "Qwen2.5-0.5B", "R1 made small"
DTYPES = ("bfloat16", "float32")
OURS = Engine(name="ours", script="ours.py", dtype="bfloat16")
OUR_LIMIT_S = 3600.0
CACHE_BYTES = 2 * 2**30


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One engine on one model; cases go from little work to much."""

    model: str
    engine: Engine
    cases: Sequence[Case]


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no engine is left behind
    arguments = parsed()
    entries = chosen(arguments)
    configs: Mapping[str, Mapping[str, Json]] = {DENSE: bundled(DENSE), LATENT: TINY_R1}
    contests: list[Contest] = []
    weights: dict[str, int] = {}
    before = probe(refresh=True)
    with tempfile.TemporaryDirectory() as scratch:
        for model, config in configs.items():
            ours = [entry for entry in entries if entry.model == model]
            if ours:
                folder = write_checkpoint(Path(scratch) / model.replace(" ", "-"), config)
                weights[model] = weight_bytes(folder)
                contests += contest(ours, folder, int(str(config["vocab_size"])), arguments)
    machine = faster(before, probe(refresh=True))
    document = {
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "ragged_rounds": arguments.ragged_rounds,
        "cache_bytes": CACHE_BYTES,
        "rates_of_the_machine": machine_document(machine),
        "weight_bytes": weights,
        "contests": [c.document() for c in contests],
    }
    dense = {model: size for model, size in weights.items() if model == DENSE}
    tables = parts(contests, machine, dense, arguments.threads)
    if arguments.dry_run:
        print("\n\n".join(tables))
        return
    save("engine", document)
    publish("engine", tables)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vllm-python", metavar="PATH", help="interpreter that has vllm")
    parser.add_argument("--llama-python", metavar="PATH", help="one with llama_cpp, gguf, numpy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ragged-rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--limit-s", type=float, default=180, help="for one round of equal lengths")
    parser.add_argument("--ragged-limit-s", type=float, default=1800, help="for one ragged round")
    parser.add_argument("--ragged-prompts", type=int, default=16)
    parser.add_argument("--only", default="", help="engines or models whose name has this in it")
    parser.add_argument("--skip", default="", help="those with one of these, between commas")
    parser.add_argument("--dry-run", action="store_true", help="print the tables, write nothing")
    return parser.parse_args()


def chosen(arguments: argparse.Namespace) -> list[Entry]:
    found = entries(arguments)
    wanted, skipped = arguments.only.lower(), [w for w in arguments.skip.lower().split(",") if w]
    named = {f"{e.model} {e.engine.name} {e.engine.dtype}".lower(): e for e in found}
    return [e for n, e in named.items() if wanted in n and not any(w in n for w in skipped)]


def entries(arguments: argparse.Namespace) -> Iterator[Entry]:
    few, many = [Even(batch=n) for n in (1, 8)], [Even(batch=n) for n in (32, 64)]
    ragged = Ragged(prompts=arguments.ragged_prompts)
    for dtype in DTYPES:
        python = arguments.vllm_python
        hugging = Engine(name="Hugging Face", script="huggingface.py", dtype=dtype)
        vllm = Engine(name="vLLM", script="vllm_cpu.py", dtype=dtype, python=python)
        yield Entry(model=DENSE, engine=hugging, cases=[*few, many[0]])
        yield Entry(model=DENSE, engine=vllm, cases=[*few, *many, ragged])
        yield Entry(model=LATENT, engine=hugging, cases=few)
    llama = Engine(
        name="llama.cpp", script="llama.py", dtype="bfloat16", python=arguments.llama_python
    )
    yield Entry(model=DENSE, engine=llama, cases=few[:1])


def contest(
    entries: Sequence[Entry], folder: Path, vocab_size: int, arguments: argparse.Namespace
) -> Iterator[Contest]:
    """Ours stays loaded; the others come and go, so that memory holds two."""
    cases = [case for entry in entries for case in entry.cases]
    setup = {
        "model": str(folder),
        "threads": arguments.threads,
        "max_requests": max(case.batch for case in cases),
        "max_length": max(case.max_length for case in cases),
        "cache_bytes": CACHE_BYTES,
    }
    with ours_failing_ends_all(), running(OURS, setup) as ours:
        for entry in entries:
            yield from against(ours, entry, setup, vocab_size, arguments)


def against(
    ours: Peer,
    entry: Entry,
    setup: Mapping[str, Json],
    vocab_size: int,
    arguments: argparse.Namespace,
) -> Iterator[Contest]:
    version, waiting, reason = "", list(entry.cases), "no case"
    try:
        with running(entry.engine, setup) as theirs:
            version = theirs.version
            while waiting:
                rounds = fought(ours, theirs, entry, waiting[0], vocab_size, arguments)
                done = Contest(
                    model=entry.model,
                    case=waiting.pop(0),
                    engine=entry.engine,
                    version=version,
                    rounds=rounds,
                )
                print(" | ".join(done.row()), flush=True)
                yield done
    except NotRunError as error:
        reason = str(error)
    for case in waiting:  # of the first it is the reason itself, and the rest are more work still
        left = Contest(
            model=entry.model, case=case, engine=entry.engine, version=version, not_run=reason
        )
        print(" | ".join(left.row()), flush=True)
        yield left


def fought(
    ours: Peer,
    theirs: Peer,
    entry: Entry,
    case: Case,
    vocab_size: int,
    arguments: argparse.Namespace,
) -> list[Round]:
    """Both see the same requests in a round, and no request twice."""
    limit_s = arguments.ragged_limit_s if isinstance(case, Ragged) else arguments.limit_s
    seed = f"{entry.engine.name} {entry.engine.dtype}"
    first = warm_up(case, vocab_size, seed)
    theirs.ask(first, limit_s)
    with ours_failing_ends_all():
        ours.ask(first, OUR_LIMIT_S)
    found = []
    rounds = arguments.ragged_rounds if isinstance(case, Ragged) else arguments.rounds
    for number in range(rounds):
        requests = case.draw(vocab_size, f"{seed} {number}")
        with ours_failing_ends_all():
            mine = ours.ask(requests, OUR_LIMIT_S)
        found.append(Round(ours=mine, theirs=theirs.ask(requests, limit_s)))
    return found


@contextmanager
def ours_failing_ends_all() -> Iterator[None]:
    """There is nothing to compare then."""
    try:
        yield
    except NotRunError as error:
        raise SystemExit(f"our own engine does not run: {error}") from None


if __name__ == "__main__":
    main()
