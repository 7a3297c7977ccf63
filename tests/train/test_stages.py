"""Stages: keys, their limits, and the bounds that each clip has of its own."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from penjing.train.clip import Cispo, Dppo, Gmpo
from penjing.train.ratio import Ratio
from penjing.train.stages import (
    KINDS,
    AnyStage,
    ClipKind,
    ReinforceStage,
    Stage,
    clip_bounds,
    kind_name,
)
from penjing.train.watch import Action, Cause

READER: TypeAdapter[AnyStage] = TypeAdapter(Stage)
TRAINED = {"start": "base", "learning_rate": 1e-5}
SAMPLED = {"task": "sums", "problems": 4, "max_tokens": 8}
SMALLEST: dict[str, dict[str, Any]] = {
    "pretrain": {**TRAINED, "task": "sums", "steps": 1, "batch": 1},
    "sft": {**TRAINED, "data": ["data"], "epochs": 1, "batch": 1},
    "reinforce": {**TRAINED, **SAMPLED, "steps": 1, "group_size": 2},
    "distil": {**TRAINED, **SAMPLED, "steps": 1, "teacher": "big"},
    "reject": {"start": "base", **SAMPLED, "samples": 2},
}


def stage(kind: str, **given: Any) -> Any:
    return READER.validate_python({"name": "one", "kind": kind, **SMALLEST[kind], **given})


def test_every_kind_is_read_by_its_name() -> None:
    assert {kind_name(kind): kind for kind in KINDS} == {
        kind: type(stage(kind)) for kind in SMALLEST
    }


@pytest.mark.parametrize("kind", SMALLEST)
def test_every_default_has_a_reason(kind: str) -> None:
    for key, field in type(stage(kind)).model_fields.items():
        assert field.is_required() or field.description, key


@pytest.mark.parametrize(
    ("clip", "ratio", "low", "high", "most"),
    [
        ("ppo", "token", 0.2, 0.28, None),
        ("ppo", "sequence", 3e-4, 4e-4, None),  # GSPO, arXiv 2507.18071
        ("cispo", "token", Cispo().low, Cispo().high, None),
        ("dppo", "token", Dppo().low, Dppo().high, Dppo().most),
        ("gmpo", "token", Gmpo().low, Gmpo().high, None),
    ],
)
def test_a_clip_has_bounds_of_its_own(
    clip: str, ratio: str, low: float | None, high: float, most: float | None
) -> None:
    made = stage("reinforce", clip=clip, ratio=ratio)
    assert (made.clip_low, made.clip_high, made.clip_most) == (low, high, most)
    assert stage("reinforce", clip=clip, ratio=ratio, clip_high=0.7).clip_high == 0.7
    for sourced in clip_bounds(ClipKind(clip), Ratio(ratio)).values():
        assert "arXiv" in sourced.source


def test_tables_within_a_stage() -> None:
    made = stage(
        "reinforce",
        correction={"bound": "mask"},
        entropy_guard={"kind": "kl_cov", "share": 0.01},
        adapter={"rank": 8},
        watch={"flat_groups": "stop"},
        until={"accuracy": 0.5, "every": 10, "problems": 20},
    )
    assert isinstance(made, ReinforceStage)
    assert made.correction is not None
    assert (made.correction.bound, made.correction.most) == ("mask", 5.0)
    assert made.watch == {Cause.FLAT_GROUPS: Action.STOP}
    assert made.until is not None
    assert made.until.task is None


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("reinforce", {"group_size": 1}),
        ("distil", {"group_size": 0}),
        ("reinforce", {"temperature": 0}),
        ("reinforce", {"top_p": 0}),
        ("reinforce", {"clip": "cut"}),
        ("reinforce", {"recompute": "often"}),
        ("reinforce", {"numerics": "quick"}),
        ("reinforce", {"dtype": "fp16"}),
        ("reinforce", {"correction": {"bound": "mask", "mots": 1}}),
        ("reinforce", {"watch": {"flat_group": "stop"}}),
        ("reinforce", {"watch": {"flat_groups": "halt"}}),
        ("sft", {"until": {"accuracy": 1.5, "every": 1, "problems": 1}}),
        ("sft", {"final_share": 2}),
        ("sft", {"preset": "dapo"}),
        ("pretrain", {"kl": 0.1}),
        ("reject", {"learning_rate": 1e-5}),
    ],
)
def test_what_no_stage_can_have(kind: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        stage(kind, **given)
