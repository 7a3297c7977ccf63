"""The most memory that this process takes to load one checkpoint and run the worst case.

    python memory_peak.py FOLDER SETTING

SETTING is JSON with dtype, max_length, sequences and vocab_size. Every page of the cache is filled,
and every step that sampling has is taken. Prints JSON: what the plan said when the checkpoint was
loaded, and the peak of resident memory (VmHWM).
"""

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

from penjing.engine import Engine, Sampling

ANSWER = 32  # tokens; the rest of each sequence is its prompt
WORST = Sampling(
    temperature=1.0,
    top_p=0.95,
    repetition_penalty=1.1,
    seed=1,
    max_tokens=ANSWER,
    ignore_eos=True,
    logprobs=5,
    prompt_logprobs=5,
)


def main() -> None:
    folder, setting = sys.argv[1], json.loads(sys.argv[2])
    engine = Engine.load(
        folder,
        device="cpu",
        dtype=setting["dtype"],
        max_length=setting["max_length"],
        max_sequences=setting["sequences"],
    )
    planned = engine.plan.peak_bytes
    found = engine.generate(prompts(setting), WORST)
    assert all(len(completion.ids) == ANSWER for completion in found)
    print(json.dumps({"planned_bytes": planned, "measured_bytes": peak_bytes()}))


def prompts(setting: dict[str, Any]) -> list[list[int]]:
    """Unrelated, so that none shares a page with another."""
    random, length = Random(1), setting["max_length"] - ANSWER
    return [
        [random.randrange(setting["vocab_size"]) for _ in range(length)]
        for _ in range(setting["sequences"])
    ]


def peak_bytes() -> float:
    """Mapped files count while they are mapped."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return float(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
