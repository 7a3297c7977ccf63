"""What may stand in a stage of a recipe; the description of a key says why its default is that."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penjing.models.kernels.choice import Numerics
from penjing.tasks.language import Language
from penjing.train.advantage import Advantage
from penjing.train.aggregation import Aggregation
from penjing.train.clip import Cispo, Dppo, Gmpo
from penjing.train.correction import Level
from penjing.train.covariance import ClipCov, KlCov
from penjing.train.distil import Form
from penjing.train.divergence import Divergence
from penjing.train.presets import DEFAULT, Preset, Sourced, preset
from penjing.train.ratio import Ratio
from penjing.train.schedule import Shape
from penjing.train.watch import Action, Cause


class Strict(BaseModel):
    """An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClipKind(StrEnum):
    """See ``penjing/train/clip.py``."""

    PPO = "ppo"
    CISPO = "cispo"
    DPPO = "dppo"
    GMPO = "gmpo"


class Dtype(StrEnum):
    """Of the weights that run; what learns is fp32 in both."""

    FP32 = "fp32"
    BF16 = "bf16"


def clip_bounds(clip: ClipKind, ratio: Ratio) -> Preset:
    """Bounds of a clip where nobody gives any: each measures something else."""
    match clip:
        case ClipKind.CISPO:
            source = "arXiv 2506.13585, equation 4, and 2510.13786: no lower bound, 5 above"
            return _bounds(Cispo().low, Cispo().high, source)
        case ClipKind.DPPO:
            own = Dppo()
            most = Sourced(own.most, "arXiv 2602.04879")
            return {**_bounds(own.low, own.high, "arXiv 2602.04879"), "clip_most": most}
        case ClipKind.GMPO:
            return _bounds(Gmpo().low, Gmpo().high, "arXiv 2507.20673: of the logarithm")
        case ClipKind.PPO if ratio is Ratio.SEQUENCE:
            return _bounds(3e-4, 4e-4, "GSPO, arXiv 2507.18071, section 5.1: a mean moves little")
        case ClipKind.PPO:
            return {key: preset(DEFAULT)[key] for key in ("clip_low", "clip_high")}


def _bounds(low: float | None, high: float, source: str) -> Preset:
    return {"clip_low": Sourced(low, source), "clip_high": Sourced(high, source)}


def _expected() -> Any:
    return Field(None, gt=0, description="what is planned for: half of max_tokens, if nothing else")


def _default(key: str, **limits: Any) -> Any:
    """A field whose default and reason are those of the preset ``default``."""
    found = preset(DEFAULT)[key]
    return Field(default=found.value, validate_default=True, description=found.source, **limits)


class Evaluation(Strict):
    """After a stage, on held-out problems; ``others`` are measured beside the task."""

    task: str
    others: list[str] = []
    problems: int = Field(ge=1)
    samples: int = Field(ge=1)
    max_tokens: int = Field(ge=1)
    mean_tokens: float | None = _expected()
    temperature: float = Field(default=1.0, ge=0, description="the policy's own distribution")
    top_p: float = Field(default=1.0, gt=0, le=1, description="the policy's own distribution")


class Until(Strict):
    """Ends a stage early: ``accuracy`` of one sample each, on held-out problems, is reached.

    Measured each so many steps. ``task`` and ``max_tokens`` are the stage's where it has them, else
    those of its evaluation.
    """

    accuracy: float = Field(gt=0, le=1)
    every: int = Field(ge=1)
    problems: int = Field(ge=1)
    task: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0)


class AdapterChoice(Strict):
    """LoRA; see ``LoraConfig``."""

    rank: int
    alpha: float = 32.0
    targets: list[str] = []
    experts: bool = False
    rslora: bool = False


class Truncate(Strict):
    """See ``Correction``."""

    bound: Literal["truncate"]
    level: Level = Level.TOKEN
    most: float = 2.0


class Mask(Strict):
    """See ``Correction``; the bounds are those of arXiv 2510.18855, section 3."""

    bound: Literal["mask"]
    level: Level = Level.TOKEN
    least: float = 0.5
    most: float = 5.0


class KlCovChoice(Strict):
    kind: Literal["kl_cov"]
    share: float = KlCov().share
    coefficient: float = KlCov().coefficient


class ClipCovChoice(Strict):
    kind: Literal["clip_cov"]
    share: float = ClipCov().share
    low: float = ClipCov().low
    high: float = ClipCov().high


class _Stage(Strict):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    start: str  # a model or checkpoint of the recipe, an earlier stage, or a folder


_V3 = "DeepSeek-V3, arXiv 2412.19437, section 4.2"


class _Trained(_Stage):
    learning_rate: float
    shape: Shape = Field(Shape.CONSTANT, description="papers on RL name none; for SFT take cosine")
    warmup_steps: int = Field(0, ge=0, description="no stage of DeepSeek-R1 names one")
    final_share: float = Field(0.1, ge=0, le=1, description="arXiv 2501.12948v2, B.4")
    weight_decay: float = Field(0.0, ge=0, description="no stage of DeepSeek-R1 names one")
    max_norm: float = Field(1.0, ge=0, description=_V3)
    beta2: float = Field(0.95, description=_V3)
    balance: float = Field(0.001, ge=0, description=_V3)  # of experts, a step
    max_tokens_a_pass: int = Field(
        8192, ge=1, description="bounds memory, and changes sums by their rounding only"
    )
    snapshot_every: int = Field(20, ge=1, description="what a kill may cost, in steps")
    dtype: Dtype = Field(Dtype.FP32, description="bf16 halves weights, and coarsens what runs")
    numerics: Numerics = Field(
        Numerics.EXACT, description="rollouts have the bits of training; fast needs a correction"
    )
    recompute: Literal["auto"] | bool = Field(
        "auto", description="activations are made twice where they would not fit"
    )
    adapter: AdapterChoice | None = Field(None, description="all weights learn")
    watch: dict[Cause, Action] = Field({}, description="every cause has its usual action")
    until: Until | None = Field(None, description="every step is done")
    evaluation: Evaluation | None = Field(None, description="that of the recipe")


class _Sampled(Strict):
    """Rollouts of ``task``, and how they are drawn."""

    task: str
    problems: int = Field(ge=1)
    max_tokens: int = Field(ge=1)
    mean_tokens: float | None = _expected()
    temperature: float = _default("temperature", gt=0)
    top_p: float = _default("top_p", gt=0, le=1)
    thinking_budget: int | None = Field(None, ge=0, description="max_tokens is the only limit")


class Pretrain(_Trained):
    """On traces: see ``penjing.tasks.traces``."""

    kind: Literal["pretrain"]
    task: str
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    direct: float = Field(0.5, description="half of the traces do not think, so that RL can choose")
    slips: float = Field(0.4, description="the rest errs so often that there is much to learn")


class Finetune(_Trained):
    """Supervised, on the data of ``reject`` stages, or on rows of prompt and response."""

    kind: Literal["sft"]
    data: list[str] = Field(min_length=1)
    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)


class ReinforceStage(_Sampled, _Trained):
    """Values of the ``preset`` stand below those that are given.

    ``clip_dual`` is of the clip ppo (two-sided), ``clip_most`` of dppo. ``soft_limit``, of the
    part over_length of the reward, is the last share of ``max_tokens``, where it goes to -1.
    """

    kind: Literal["reinforce"]
    preset: str = Field(DEFAULT, description="none is named")
    steps: int = Field(ge=1)
    group_size: int = Field(ge=2)
    advantage: Advantage = _default("advantage")
    aggregation: Aggregation = _default("aggregation")
    ratio: Ratio = _default("ratio")
    clip: ClipKind = _default("clip")
    clip_low: float | None = _default("clip_low")
    clip_high: float = _default("clip_high")
    clip_dual: float | None = Field(None, description="a ratio that falls is clipped on one side")
    clip_most: float | None = Field(None, description="of the clip dppo only")
    divergence: Divergence = _default("divergence")
    kl: float = _default("kl", ge=0)
    reference_every: int = _default("reference_every", ge=0)
    correction: Annotated[Truncate | Mask, Field(discriminator="bound")] | None = Field(
        None, description="with exact numerics there is nothing to correct"
    )
    entropy_guard: Annotated[KlCovChoice | ClipCovChoice, Field(discriminator="kind")] | None = (
        Field(None, description="clip_high above clip_low keeps entropy up")
    )
    entropy_bonus: float = _default("entropy_bonus")
    minibatches: int = _default("minibatches", ge=1)
    refills: int = _default("refills", ge=0)
    masks_truncated: bool = _default("masks_truncated")
    rewards: dict[str, float] = _default("rewards")
    language: Language | None = Field(None, description="the reward has no part for it")
    soft_limit: float = _default("soft_limit", gt=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        """With what its preset says, and the bounds of its clip. Raises ``UnknownName``."""
        if not isinstance(given, Mapping):
            return given
        name = str(given.get("preset", DEFAULT))
        merged = {**({} if name == DEFAULT else _values(preset(name))), **given}
        clip, ratio = merged.get("clip", ClipKind.PPO), merged.get("ratio", Ratio.TOKEN)
        if clip not in set(ClipKind) or ratio not in set(Ratio):
            return merged  # which is an error of its own
        return {**_values(clip_bounds(ClipKind(clip), Ratio(ratio))), **merged}


class DistilStage(_Sampled, _Trained):
    """The student that it starts from writes, and ``teacher`` (a stage or a checkpoint) grades."""

    kind: Literal["distil"]
    teacher: str
    steps: int = Field(ge=1)
    group_size: int = Field(1, ge=1, description="more problems say more than more answers do")
    form: Form = Field(Form.SAMPLED, description="the teacher says one number a token")
    aggregation: Aggregation = Field(Aggregation.TOKEN, description="each token has its own grade")
    clip_low: float = Field(0.2, ge=0, description="arXiv 1707.06347, section 6.1")
    clip_high: float = Field(0.2, ge=0, description="arXiv 1707.06347, section 6.1")
    minibatches: int = Field(1, ge=1, description="every update from the student that wrote")


class Reject(_Sampled, _Stage):
    """Keeps up to ``keep`` right responses of ``samples`` to each problem, the shortest first."""

    kind: Literal["reject"]
    samples: int = Field(ge=1)
    keep: int = Field(1, ge=1, description="one problem teaches as much as another")
    must_think: bool = Field(True, description="what is learnt next is to think, then to answer")


Trained = Pretrain | Finetune | ReinforceStage | DistilStage
AnyStage = Trained | Reject
KINDS: tuple[type[AnyStage], ...] = (Pretrain, Finetune, ReinforceStage, DistilStage, Reject)
Stage = Annotated[AnyStage, Field(discriminator="kind")]


def kind_name(kind: type[AnyStage]) -> str:
    """What a stage of it has for its ``kind``."""
    (name,) = get_args(kind.model_fields["kind"].annotation)
    return str(name)


def _values(found: Preset) -> dict[str, Any]:
    return {key: sourced.value for key, sourced in found.items()}
