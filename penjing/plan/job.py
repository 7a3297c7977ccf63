"""What is wanted: a model served, trained or put through reinforcement learning."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from penjing.errors import BadQuantity


class Objective(StrEnum):
    """What the best layout has most of."""

    THROUGHPUT = "throughput"  # tokens a second on the chips at hand
    USD = "usd"  # tokens a dollar, for the chips in use
    WATT = "watt"  # tokens a joule
    LATENCY = "latency"  # shortest answer; training: shortest step


@dataclass(frozen=True, kw_only=True)
class ServeJob:
    """Requests of ``input_tokens`` in and ``output_tokens`` out, under limits on mean latencies."""

    model: str
    input_tokens: int
    output_tokens: int
    tpot_limit_s: float | None = None
    ttft_limit_s: float | None = None
    objective: Objective = Objective.THROUGHPUT
    verb: Literal["serve"] = "serve"


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """``tokens`` to train on, in steps of ``batch`` sequences of ``sequence`` tokens."""

    model: str
    tokens: float
    sequence: int
    batch: int
    objective: Objective = Objective.THROUGHPUT
    verb: Literal["train"] = "train"


@dataclass(frozen=True, kw_only=True)
class RlJob:
    """GRPO: ``prompts`` x ``group`` responses a step, lengths spread about their mean."""

    model: str
    prompts: int
    group: int
    input_tokens: int
    output_tokens: int
    longest_output: int
    objective: Objective = Objective.THROUGHPUT
    verb: Literal["rl"] = "rl"

    def __post_init__(self) -> None:
        if self.longest_output < self.output_tokens:
            raise BadQuantity(
                f"longest output {self.longest_output} is below the mean {self.output_tokens}; "
                "give --longest at least as large as --output"
            )


Job = ServeJob | TrainJob | RlJob
