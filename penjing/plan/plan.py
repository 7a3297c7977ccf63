"""The answer: what to run where, what to expect of it, and why this and nothing else.

A ``Plan`` is data: frozen, hashed, and the same after a round trip through JSON. Engine and
trainer take it as their configuration.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from penjing.cost.layout import Layout
from penjing.cost.roofline import Bound
from penjing.errors import BadFile, RequestError
from penjing.plan.job import Job

FORMAT = 1  # of the document; raised when a reader would misread an older one


class Basis(StrEnum):
    """How a predicted figure was come by, best first."""

    MEASURED = "measured"  # from kernels measured on this very chip
    DERIVED = "derived"  # from kernels measured on its nearest relative
    ASSUMED = "assumed"  # from constants nobody has measured


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A figure; the truth lies between ``low`` and ``high`` four times in five, where given."""

    value: float
    low: float | None = None
    high: float | None = None
    basis: Basis


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Bytes on the fullest chip by kind; ``host_bytes`` lie in host memory, for each chip."""

    capacity_bytes: float
    weights_bytes: float
    cache_bytes: float = 0.0
    gradients_bytes: float = 0.0
    optimizer_bytes: float = 0.0
    activations_bytes: float
    reserved_bytes: float
    host_bytes: float = 0.0

    @property
    def free_bytes(self) -> float:
        return self.capacity_bytes - (
            self.weights_bytes
            + self.cache_bytes
            + self.gradients_bytes
            + self.optimizer_bytes
            + self.activations_bytes
            + self.reserved_bytes
        )


@dataclass(frozen=True, kw_only=True)
class ServingGroup:
    """``instances`` equal copies of the model and what each is told."""

    role: Literal["serve", "prefill", "decode", "rollout"]
    chip: str
    instances: int
    layout: Layout
    engine: str
    weights: str
    cache: str
    draft_depth: int
    sequences: int  # in flight on one instance
    prefill_tokens: int  # of one pass or chunk
    memory: MemoryUse
    kind: Literal["serving"] = "serving"

    @property
    def chips(self) -> int:
        return self.instances * self.layout.chips


@dataclass(frozen=True, kw_only=True)
class TrainingGroup:
    """One training run over all its chips."""

    chip: str
    layout: Layout
    stack: str
    weights: str  # format that products run in
    batch: int  # sequences a step
    micro_batch: int
    virtual_stages: int
    zero: int
    recompute: str
    offload: bool
    memory: MemoryUse
    kind: Literal["training"] = "training"

    @property
    def chips(self) -> int:
        return self.layout.chips


Group = Annotated[ServingGroup | TrainingGroup, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class ServeFigures:
    """Means over requests; tokens are output tokens of the whole deployment."""

    tokens_per_s: Predicted
    tokens_per_s_per_chip: Predicted  # over every chip of the budget
    requests_per_s: Predicted
    tpot_s: Predicted
    ttft_s: Predicted
    transfer_s: float  # of the cache, part of ttft_s
    power_w: Predicted | None
    joules_per_token: Predicted | None
    usd_per_million_tokens: Predicted | None
    kind: Literal["serve"] = "serve"


@dataclass(frozen=True, kw_only=True)
class TrainFigures:
    """One optimizer step, and the whole run."""

    tokens_per_s: Predicted
    tokens_per_s_per_chip: Predicted
    step_s: Predicted
    model_flops_utilization: Predicted  # of the BF16 peak
    parts_s: dict[str, float]  # of a step
    total_s: Predicted
    chip_hours: Predicted
    power_w: Predicted | None
    usd: Predicted | None
    kind: Literal["train"] = "train"


@dataclass(frozen=True, kw_only=True)
class RlFigures:
    """One GRPO step."""

    step_s: Predicted
    parts_s: dict[str, float]
    tokens_per_s: Predicted  # generated, over the whole step
    tokens_per_s_per_chip: Predicted
    usd_per_step: Predicted | None
    kind: Literal["rl"] = "rl"


Figures = Annotated[ServeFigures | TrainFigures | RlFigures, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class OperatorClass:
    """Operators of one kind in one pass, and what a faster chip would do for them.

    ``slack`` is how far the next ceiling lies below the one that holds: 0.3 means that work on
    the holding one could shrink by 30 % before the other takes over. ``saved_by`` gives, for
    10 % more of a rate, the share of the class's time that is saved.
    """

    phase: str
    name: str
    seconds: float
    share: float  # of the pass
    bound: Bound
    slack: float
    saved_by: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A choice that came behind; ``behind`` is how much worse, as a share of the best."""

    layout: str
    tokens_per_s: float
    tpot_s: float | None = None
    ttft_s: float | None = None
    step_s: float | None = None
    behind: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is wanted, what is had, what to do, what to expect."""

    job: Annotated[Job, Field(discriminator="verb")]
    budget: str
    chips: int
    groups: tuple[Group, ...]
    figures: Figures
    gains: dict[str, float]  # throughput for 10 % more compute, bandwidth, link
    operators: tuple[OperatorClass, ...]
    alternatives: tuple[Alternative, ...]
    layouts_tried: int
    points_tried: int
    infeasible: dict[str, int]
    reasons: tuple[str, ...]
    provenance: tuple[str, ...]
    format: int = FORMAT
    digest: str = ""

    def sealed(self) -> "Plan":
        """The plan with the digest of everything else in it."""
        bare = replace(self, digest="")
        return replace(bare, digest=hashlib.sha256(_canonical(bare)).hexdigest())

    def to_json(self) -> str:
        return json.dumps(plan_document(self), indent=2, ensure_ascii=False)


def plan_document(plan: Plan) -> dict[str, object]:
    """The plan as plain data."""
    document: dict[str, object] = _ADAPTER.dump_python(plan, mode="json")
    return document


def plan_from_json(text: str) -> Plan:
    """A plan as written by ``to_json``; raises ``BadFile`` where it is malformed or was changed."""
    try:
        plan = _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise _no_plan(f"{where}: {first['msg']}") from None
    except RequestError as error:  # a layout or a job that cannot be
        raise _no_plan(str(error)) from None
    if plan.format != FORMAT:
        raise BadFile(f"plan of format {plan.format}; this version reads format {FORMAT}")
    if json.loads(text) != plan_document(plan) or plan.sealed().digest != plan.digest:
        raise BadFile("the plan was changed after it was made: plan again instead")
    return plan


def read_plan(path: Path) -> Plan:
    """A plan from a file; raises ``BadFile``."""
    try:
        return plan_from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFile(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadFile(f"{path}: not a text file in UTF-8") from None


def _no_plan(why: str) -> BadFile:
    """On one line, whatever the file has put into ``why``."""
    return BadFile(f"not a plan: {' '.join(why.split())}; write it with penjing plan --json")


def _canonical(plan: Plan) -> bytes:
    document = _ADAPTER.dump_python(plan, mode="json")
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


_ADAPTER: TypeAdapter[Plan] = TypeAdapter(Plan)
