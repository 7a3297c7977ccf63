"""Steps that are stopped and go on: the same state, the same record."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from penjing.train.loop import Alarmed, Interrupted, Loop, forget_peak, peak_bytes
from penjing.train.record import Facts, read_record
from penjing.train.watch import Action, Cause


class Walk:
    """Each step hangs on all before."""

    num_steps = 10
    share = 1.0

    def __init__(self, falls_at: int | None = None) -> None:
        self.at_T = torch.zeros(3)
        self.count = 0
        self._falls_at = falls_at

    def step(self, number: int) -> Facts:
        if number == self._falls_at:
            raise ZeroDivisionError
        self.at_T = (self.at_T + number) * 1.1
        self.count += 1
        return {"sum": float(self.at_T.sum()), "count": self.count}

    def state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        return {"at": self.at_T}, {"count": self.count}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        self.at_T, self.count = tensors["at"], facts["count"]


def whole(folder: Path) -> tuple[Walk, bytes]:
    walk = Walk()
    Loop(folder, 3).run(walk)
    return walk, (folder / "record.jsonl").read_bytes()


@pytest.mark.parametrize("falls_at", range(10))
def test_a_run_that_fell_goes_on_to_the_same_end(tmp_path: Path, falls_at: int) -> None:
    straight, record = whole(tmp_path / "straight")
    with pytest.raises(ZeroDivisionError):
        Loop(tmp_path / "fallen", 3).run(Walk(falls_at))
    again = Walk()
    Loop(tmp_path / "fallen", 3).run(again)
    assert torch.equal(again.at_T, straight.at_T)
    assert again.count == straight.count == 10
    assert (tmp_path / "fallen" / "record.jsonl").read_bytes() == record
    assert [facts["step"] for facts in read_record(tmp_path / "fallen")] == list(range(10))


def test_a_damaged_snapshot_is_told_and_the_one_before_used(tmp_path: Path) -> None:
    straight, record = whole(tmp_path / "straight")
    with pytest.raises(ZeroDivisionError):
        Loop(tmp_path / "run", 3).run(Walk(8))
    file = tmp_path / "run" / "snapshots" / "00000006" / "state.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    told: list[str] = []
    again = Walk()
    Loop(tmp_path / "run", 3, tell=told.append).run(again)
    assert len(told) == 1
    assert "00000006 is damaged: its checksum differs; going on from the one before" in told[0]
    assert torch.equal(again.at_T, straight.at_T)
    assert (tmp_path / "run" / "record.jsonl").read_bytes() == record


def test_a_stop_is_after_a_step_and_with_a_snapshot(tmp_path: Path) -> None:
    straight, record = whole(tmp_path / "straight")
    walk = Walk()
    with pytest.raises(Interrupted):
        Loop(tmp_path / "run", 100, is_stopping=lambda: walk.count == 4).run(walk)
    shown: list[int] = []
    again = Walk()
    Loop(tmp_path / "run", 100, show=lambda facts, n: shown.append(facts["step"])).run(again)
    assert shown == [4, 5, 6, 7, 8, 9]
    assert torch.equal(again.at_T, straight.at_T)
    assert (tmp_path / "run" / "record.jsonl").read_bytes() == record


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    whole(tmp_path)
    walk = Walk(falls_at=0)
    Loop(tmp_path, 3).run(walk)
    assert walk.count == 10


class Broken(Walk):
    """Its loss is no number at one step, at the first so many tries."""

    def __init__(self, at: int, times: int = 1) -> None:
        super().__init__()
        self._at, self._times = at, times
        self.shares: list[float] = []

    def step(self, number: int) -> Facts:
        self.shares.append(self.share)
        facts = dict(super().step(number))
        if number == self._at and self._times:
            self._times -= 1
            facts["loss"] = math.nan
        return facts


def alarms(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "alarms.jsonl").read_text().splitlines()]


def test_a_watchdog_stops_a_run_and_names_the_cause(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(Alarmed, match=r"was stopped at step 5: loss is nan"):
        Loop(tmp_path / "run", 3, tell=told.append).run(Broken(5))
    (alarm,) = alarms(tmp_path / "run")
    assert (alarm["step"], alarm["cause"], alarm["action"]) == (5, "not_finite", "stop")
    assert told[0].startswith("step 5: loss is nan")
    assert told[0].endswith("(stop)")
    again = Walk()
    Loop(tmp_path / "run", 3).run(again)  # whatever was wrong is mended
    assert again.count == 10
    assert alarms(tmp_path / "run") == []  # step 5 was done again


def test_a_warning_stops_nothing(tmp_path: Path) -> None:
    walk = Broken(5)
    Loop(tmp_path / "run", 3, watch={Cause.NOT_FINITE: Action.WARN}).run(walk)
    assert walk.count == 10
    assert [one["action"] for one in alarms(tmp_path / "run")] == ["warn"]


def test_a_step_back_goes_on_from_the_snapshot_with_half_the_rate(tmp_path: Path) -> None:
    straight, _ = whole(tmp_path / "straight")
    walk = Broken(5)
    back = {Cause.NOT_FINITE: Action.ROLL_BACK}
    Loop(tmp_path / "run", 3, watch=back).run(walk)
    assert walk.shares == [1.0] * 6 + [0.5] * 7  # steps 0 to 5, then again from 3
    assert torch.equal(walk.at_T, straight.at_T)
    assert [facts["step"] for facts in read_record(tmp_path / "run")] == list(range(10))


def test_what_fails_again_and_again_is_stopped(tmp_path: Path) -> None:
    back = {Cause.NOT_FINITE: Action.ROLL_BACK}
    with pytest.raises(Alarmed, match="cannot go back further"):
        Loop(tmp_path / "run", 3, watch=back).run(Broken(5, times=9))
    with pytest.raises(Alarmed, match="cannot go back further"):  # before any snapshot
        Loop(tmp_path / "early", 3, watch=back).run(Broken(1))


def test_a_share_survives_a_stop(tmp_path: Path) -> None:
    back = {Cause.NOT_FINITE: Action.ROLL_BACK}
    calls: list[int] = []

    def is_stopping() -> bool:
        calls.append(1)
        return len(calls) > 12

    with pytest.raises(Interrupted):
        Loop(tmp_path / "run", 3, watch=back, is_stopping=is_stopping).run(Broken(5))
    again = Broken(99)
    Loop(tmp_path / "run", 3).run(again)
    assert set(again.shares) == {0.5}


def test_what_is_reached_ends_a_stage_for_good(tmp_path: Path) -> None:
    walk = Walk()
    Loop(tmp_path / "run", 3, is_enough=lambda step: step == 4).run(walk)
    assert walk.count == 4
    again = Walk()
    Loop(tmp_path / "run", 3).run(again)
    assert again.count == 4
    assert torch.equal(again.at_T, walk.at_T)


def test_the_worst_case_comes_first_and_once(tmp_path: Path) -> None:
    walk, seen = Walk(), []
    Loop(tmp_path / "run", 3, prepare=lambda: seen.append(walk.count)).run(walk)
    assert seen == [0]
    Loop(tmp_path / "run", 3, prepare=lambda: seen.append(walk.count)).run(walk)
    assert seen == [0]  # nothing is left to do


def test_the_peak_is_forgotten() -> None:
    big = torch.ones(40_000_000)
    high = peak_bytes()
    del big
    forget_peak()
    assert peak_bytes() < high - 100_000_000


class Shown:
    """A board that keeps what it was told."""

    def __init__(self, first: int) -> None:
        self.first, self.steps, self.is_closed = first, list[int](), False

    def add(self, facts: Facts, times: Facts) -> None:
        assert not self.is_closed
        assert times["wall_s"] >= 0
        self.steps.append(facts["step"])

    def close(self) -> None:
        self.is_closed = True


def test_boards_show_every_step_and_are_closed_however_a_run_ends(tmp_path: Path) -> None:
    made: list[Shown] = []

    def boards(first: int) -> list[Shown]:
        made.append(Shown(first))
        return made[-1:]

    with pytest.raises(ZeroDivisionError):
        Loop(tmp_path / "run", 3, boards=boards).run(Walk(8))
    Loop(tmp_path / "run", 3, boards=boards).run(Walk())
    assert [(one.first, one.steps) for one in made] == [(0, list(range(8))), (6, [6, 7, 8, 9])]
    assert all(one.is_closed for one in made)


def test_boards_begin_again_after_a_step_back(tmp_path: Path) -> None:
    made: list[Shown] = []

    def boards(first: int) -> list[Shown]:
        made.append(Shown(first))
        return made[-1:]

    back = {Cause.NOT_FINITE: Action.ROLL_BACK}
    Loop(tmp_path / "run", 3, watch=back, boards=boards).run(Broken(5))
    assert [(one.first, one.steps) for one in made] == [
        (0, [0, 1, 2, 3, 4, 5]),
        (3, [*range(3, 10)]),
    ]
    assert all(one.is_closed for one in made)


def test_an_alarm_is_kept_once_however_often_its_run_is_stopped(tmp_path: Path) -> None:
    """Also one that a step back has left before the snapshot that it went to."""
    back = {Cause.NOT_FINITE: Action.ROLL_BACK}
    Loop(tmp_path / "straight", 3, watch=back).run(Broken(5))
    calls = 0

    def is_stopping() -> bool:
        nonlocal calls
        calls += 1
        return calls > 12

    with pytest.raises(Interrupted):
        Loop(tmp_path / "run", 3, watch=back, is_stopping=is_stopping).run(Broken(5))
    Loop(tmp_path / "run", 3, watch=back).run(Broken(99))
    assert alarms(tmp_path / "run") == alarms(tmp_path / "straight")
