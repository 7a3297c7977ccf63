import json
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost.layout import Layout
from penjing.errors import BadFile
from penjing.plan.job import RlJob, ServeJob, TrainJob
from penjing.plan.plan import (
    FORMAT,
    Basis,
    MemoryUse,
    Plan,
    Predicted,
    ServeFigures,
    ServingGroup,
    plan_document,
    plan_from_json,
    read_plan,
)

CHANGED = "the plan was changed after it was made: plan again instead"
numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(min_value=0, max_value=2**53)
names = st.text(max_size=20)
predictions = st.builds(
    Predicted,
    value=numbers,
    low=st.none() | numbers,
    high=st.none() | numbers,
    basis=st.sampled_from(Basis),
)
memories = st.builds(
    MemoryUse, **dict.fromkeys((f.name for f in fields(MemoryUse)), st.floats(0, 1e15))
)
groups = st.builds(
    ServingGroup,
    role=st.sampled_from(["serve", "prefill", "decode", "rollout"]),
    chip=names,
    instances=counts,
    layout=st.builds(Layout, tensor=st.integers(1, 8), data=st.integers(1, 8)),
    engine=names,
    weights=names,
    cache=names,
    draft_depth=st.integers(0, 3),
    sequences=counts,
    prefill_tokens=counts,
    memory=memories,
    kind=st.just("serving"),
)
figures = st.builds(
    ServeFigures,
    **dict.fromkeys(("tokens_per_s", "tokens_per_s_per_chip", "requests_per_s"), predictions),
    **dict.fromkeys(("tpot_s", "ttft_s"), predictions),
    transfer_s=numbers,
    **dict.fromkeys(
        ("power_w", "joules_per_token", "usd_per_million_tokens"), st.none() | predictions
    ),
    kind=st.just("serve"),
)


def at(document: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


def leaves(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value that holds no other."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves(value, (*path, key))
    elif isinstance(document, list):
        for place, value in enumerate(document):
            yield from leaves(value, (*path, place))
    else:
        yield path


def branches(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every object."""
    if isinstance(document, dict):
        yield path
    if isinstance(document, dict | list):
        pairs = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in pairs:
            yield from branches(value, (*path, key))


def refused(document: Any) -> str:
    with pytest.raises(BadFile) as caught:
        plan_from_json(json.dumps(document))
    return str(caught.value)


def test_real_plans_of_every_kind_survive_the_round_trip(plans: dict[str, Plan]) -> None:
    for plan in plans.values():
        again = plan_from_json(plan.to_json())
        assert again == plan
        assert again.to_json() == plan.to_json()
        assert json.loads(plan.to_json()) == plan_document(plan)
    jobs = {type(plan.job) for plan in plans.values()}
    assert jobs == {ServeJob, TrainJob, RlJob}
    assert {len(plan.groups) for plan in plans.values()} == {1, 2}


@given(
    group=groups,
    found=figures,
    gains=st.dictionaries(names, numbers, max_size=3),
    counted=st.dictionaries(names, counts, max_size=3),
    said=st.lists(names, max_size=3),
)
def test_the_round_trip_is_the_identity(
    plans: dict[str, Plan],
    group: ServingGroup,
    found: ServeFigures,
    gains: dict[str, float],
    counted: dict[str, int],
    said: list[str],
) -> None:
    plan = replace(
        plans["together"],
        groups=(group, *plans["train"].groups),
        figures=found,
        gains=gains,
        infeasible=counted,
        reasons=tuple(said),
    ).sealed()
    assert plan_from_json(plan.to_json()) == plan


def test_the_digest_covers_every_field(plans: dict[str, Plan]) -> None:
    """Swapping any field for that of another plan gives another digest."""
    plan = plans["together"]
    others = {f.name: getattr(plans["train"], f.name) for f in fields(Plan)}
    others |= {"format": FORMAT + 1, "points_tried": plan.points_tried + 1}
    seen = {plan.digest}
    for name in set(others) - {"digest"}:
        changed = replace(plan, **{name: others[name]})
        assert changed != plan, name
        seen.add(changed.sealed().digest)
    assert len(seen) == len(fields(Plan))


def test_sealing_is_idempotent_and_hashes_nothing_of_the_old_digest(plans: dict[str, Plan]) -> None:
    plan = plans["train"]
    assert plan.sealed() == plan
    assert replace(plan, digest="x").sealed() == plan
    assert len(plan.digest) == 64


def changed_value(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value * 1.001 + 1e-9
        case None:
            return {"value": 1.0, "low": None, "high": None, "basis": "assumed"}
        case _:
            return str(value) + "x"


@pytest.mark.parametrize("kind", ["apart", "train", "rl in turn"])
def test_no_value_can_be_changed_unnoticed(plans: dict[str, Plan], kind: str) -> None:
    """Every leaf of the document; unions that fall to another type fail as no plan at all."""
    original = plan_document(plans[kind])
    found = list(leaves(original))
    assert len(found) > 100
    for path in found:
        document = json.loads(json.dumps(original))
        *parent, key = path
        at(document, tuple(parent))[key] = changed_value(at(document, path))
        message = refused(document)
        assert message == CHANGED or message.startswith(("not a plan: ", "plan of format ")), path
        assert "\n" not in message


def test_no_key_can_be_added_or_dropped_unnoticed(plans: dict[str, Plan]) -> None:
    original = plan_document(plans["together"])
    for path in branches(original):
        document = json.loads(json.dumps(original))
        at(document, path)["extra"] = 1
        assert refused(document), path
        target = at(document, path)
        del target["extra"]
        target.pop(next(iter(target)))
        assert refused(document), path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "42",
        '"plan"',
        "{}",
        '{"plans": []}',
        "[" * 10_000,
        '{"job": {"verb": "s\\nerve"}}',
        '{"error": {"type": "DoesNotFit"}}',
        "\ufeff{}",
        "\x00",
    ],
)
def test_what_is_no_plan_is_one_line(text: str) -> None:
    with pytest.raises(BadFile) as caught:
        plan_from_json(text)
    message = str(caught.value)
    assert message.startswith("not a plan: ")
    assert message.endswith("; write it with penjing plan --json")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("longest_output", 1, "longest output 1 is below the mean 1024"),
        ("output_tokens", "many", "job.rl.output_tokens: Input should be a valid integer"),
        ("output_tokens", None, "job.rl.output_tokens: Input should be a valid integer"),
    ],
)
def test_a_job_that_cannot_be_is_no_plan(
    plans: dict[str, Plan], field: str, value: object, message: str
) -> None:
    document = json.loads(plans["rl in turn"].to_json())
    document["job"][field] = value
    assert refused(document).startswith(f"not a plan: {message}")


def test_a_layout_that_cannot_be_is_no_plan(plans: dict[str, Plan]) -> None:
    document = json.loads(plans["together"].to_json())
    document["groups"][0]["layout"]["expert"] = 7
    assert refused(document).startswith("not a plan: layout: 7 expert ranks do not divide the ")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(plans: dict[str, Plan], number: str) -> None:
    text = plans["together"].to_json()
    field = f'"layouts_tried": {plans["together"].layouts_tried}'
    assert field in text
    with pytest.raises(BadFile):
        plan_from_json(text.replace(field, f'"layouts_tried": {number}'))


def test_another_format_is_named(plans: dict[str, Plan]) -> None:
    plan = replace(plans["together"], format=FORMAT + 1).sealed()
    with pytest.raises(BadFile, match=r"^plan of format 2; this version reads format 1$"):
        plan_from_json(plan.to_json())


def test_a_plan_is_read_from_a_file(plans: dict[str, Plan], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(plans["train"].to_json(), encoding="utf-8")
    assert read_plan(path) == plans["train"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"absent\.json: cannot be read \(No such file"):
        read_plan(tmp_path / "absent.json")
    with pytest.raises(BadFile, match="cannot be read"):
        read_plan(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="binary: not a text file in UTF-8"):
        read_plan(binary)


def test_memory_of_every_group_adds_up_and_fits(plans: dict[str, Plan]) -> None:
    for plan in plans.values():
        for group in plan.groups:
            use = group.memory
            kinds = [f.name for f in fields(MemoryUse) if f.name.endswith("_bytes")]
            on_chip = [k for k in kinds if k not in ("capacity_bytes", "host_bytes")]
            total = sum(getattr(use, k) for k in on_chip) + use.free_bytes
            assert total == pytest.approx(use.capacity_bytes)
            assert use.free_bytes >= 0
            assert all(getattr(use, k) >= 0 for k in kinds)


def test_groups_take_no_more_chips_than_there_are(plans: dict[str, Plan]) -> None:
    for name, plan in plans.items():
        used = sum(group.chips for group in plan.groups)
        assert used <= plan.chips * (2 if name == "rl in turn" else 1), name
        first = plan.groups[0]
        assert first.chips == first.layout.chips * getattr(first, "instances", 1)


def test_a_plan_is_frozen(plans: dict[str, Plan]) -> None:
    plan = plans["together"]
    for part, name in (
        (plan, "chips"),
        (plan.groups[0], "chip"),
        (plan.figures, "kind"),
        (plan.operators[0], "share"),
        (plan.groups[0].memory, "cache_bytes"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(part, name, 0)


def test_bases_stand_best_first() -> None:
    assert list(Basis) == [Basis.MEASURED, Basis.DERIVED, Basis.ASSUMED]
