"""How an engine under test answers: it loads once, then generates what each line asks for.

Each runs in a process of its own, with an interpreter of its own, and needs the standard library
and its engine alone. It is told how in one JSON argument:

    model         folder of the checkpoint
    dtype         of weights and arithmetic
    threads       that it may use
    max_requests  most that one line will ask for
    max_length    most tokens of a prompt with its answer
    cache_bytes   for keys and values, where the engine can be told

and answers each line ``[[ids of a prompt, tokens to generate], ...]`` of standard input with one
JSON line: the seconds it took, and the ids. Greedy, and no token ends an answer.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from time import perf_counter
from typing import Any

Setup = dict[str, Any]
Requests = list[tuple[list[int], int]]
Generate = Callable[[Requests], list[list[int]]]
Load = Callable[[Setup], tuple[str, Generate]]
"""The engine's name with its version, and what generates the answers of all requests at once."""


def answer(load: Load) -> None:
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever an engine prints is not an answer

    def say(**document: object) -> None:
        line.write(json.dumps(document) + "\n")
        line.flush()

    try:
        version, generate = load(json.loads(sys.argv[1]))
        say(ready=version)
        for asked in sys.stdin:
            requests = [(ids, tokens) for ids, tokens in json.loads(asked)]
            began = perf_counter()
            ids = generate(requests)
            say(seconds=perf_counter() - began, ids=ids)
    # Whatever stops an engine is a result: it cannot run here, and why.
    except Exception as error:
        traceback.print_exc()
        say(failed=f"{type(error).__name__}: {error}".strip().splitlines()[0])
        raise SystemExit(1) from None
