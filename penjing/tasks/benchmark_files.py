"""Files of well-known benchmarks, told by their sha256: what they are, and what they are for."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path

from penjing.errors import BadFile
from penjing.tasks.problem import Split


@dataclass(frozen=True, kw_only=True)
class BenchmarkFile:
    """``rows`` counts problems; ``repository`` and ``path`` say where on GitHub it was seen."""

    name: str
    split: Split
    rows: int
    repository: str
    path: str


def benchmark_of(path: Path) -> BenchmarkFile | None:
    """None: not a file we know. Raises ``BadFile`` where it cannot be read."""
    try:
        state = path.stat()
        return BENCHMARK_FILES.get(_sha256(path, state.st_size, state.st_mtime_ns))
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}; check the path") from None


@lru_cache(maxsize=16)
def _sha256(path: Path, size_bytes: int, modified_ns: int) -> str:
    """Asked once a problem, so it is kept; size and time tell when a file has changed."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


BENCHMARK_FILES = {
    "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14": BenchmarkFile(
        name="gsm8k",
        split=Split.HELD_OUT,
        rows=1319,
        repository="openai/grade-school-math",
        path="grade_school_math/data/test.jsonl",
    ),
    "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465": BenchmarkFile(
        name="gsm8k",
        split=Split.TRAIN,
        rows=7473,
        repository="openai/grade-school-math",
        path="grade_school_math/data/train.jsonl",
    ),
    "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef": BenchmarkFile(
        name="humaneval",
        split=Split.HELD_OUT,
        rows=164,
        repository="openai/human-eval",
        path="data/HumanEval.jsonl.gz",
    ),
    "35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132": BenchmarkFile(
        name="math-500",
        split=Split.HELD_OUT,
        rows=500,
        repository="hkust-nlp/simpleRL-reason",
        path="examples/simplelr_math_eval/data/math500/test.jsonl",
    ),
    "3371949f33dd702d04b43fddd7d53a028de0aaca0e76abb1b875a050297b3aa4": BenchmarkFile(
        name="math",
        split=Split.HELD_OUT,
        rows=5000,
        repository="ZubinGou/math-evaluation-harness",
        path="data/math/test.jsonl",
    ),
    "af2b8bd2aa911b6333ad0df32f3ca05c7ae8ed10f1731f4372c8ae26990bf7ac": BenchmarkFile(
        name="aime24",
        split=Split.HELD_OUT,
        rows=30,
        repository="QwenLM/Qwen2.5-Math",
        path="evaluation/data/aime24/test.jsonl",
    ),
}
