"""Steps that are stopped and go on: the same state, the same record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from penjing.train.loop import Interrupted, Loop
from penjing.train.record import Facts, read_record


class Walk:
    """Each step hangs on all before."""

    num_steps = 10

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
