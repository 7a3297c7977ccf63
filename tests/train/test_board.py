"""Event files by a reader of their own, what a resumed run shows, and a W&B that is not there."""

import json
import math
import struct
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadFile, RequestError
from penjing.train.board import EventFiles, crc32c, event_files, scalars, weights_and_biases

# Three events as the RecordWriter of tensorboardX 2.6.5 writes them.
GOLDEN = bytes.fromhex(
    "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"
    "100000000000000095fbfe1809000000000000f83f10ac023a020801713b788a"
    "3700000000000000e7e8ca5909000000000000f83f10ac022a290a130a0c7265776172642f746f74616c150000003f"
    "0a120a0b706f6c6963792f6c6f737315000000c0860991e9"
)

Shown = dict[str, dict[int, float]]
"""Figures by tag and step."""


def clock() -> float:
    return 1.5


def opened(folder: Path, first_step: int = 0) -> EventFiles:
    return event_files(folder, first_step, clock)


def test_castagnoli_checksums() -> None:
    """RFC 3720, B.4, and the check value of the catalogue of polynomials."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_bytes_are_those_of_tensorboard(tmp_path: Path) -> None:
    board = opened(tmp_path, 300)
    board.add({"step": 300, "reward": 0.5, "loss": -2.0}, {})
    board.close()
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == GOLDEN


def test_figures_come_back_by_their_groups(tmp_path: Path) -> None:
    board = opened(tmp_path)
    facts = {"step": 0, "reward": 0.25, "reward.accuracy": 1.0, "length": 12, "largest_gap": 0.0}
    board.add({**facts, "note": "x", "norm": "nan", "is_odd": True}, {"wall_s": 2.5})
    assert shown(tmp_path) == {  # not closed: what a killed process leaves
        "reward/total": {0: 0.25},
        "reward/accuracy": {0: 1.0},
        "rollout/length": {0: 12.0},
        "mismatch/largest": {0: 0.0},
        "time/step_s": {0: 2.5},
    }
    board.close()


def test_names() -> None:
    facts = {"step": 3, "entropy": 1, "mean_gap": 2, "reward.a.b": 3, "other": 4}
    times = {"step": 3, "peak_bytes": 5, "evaluation_s": 6}
    assert scalars(facts, times) == {
        "policy/entropy": 1.0,
        "mismatch/mean": 2.0,
        "reward/a.b": 3.0,
        "other": 4.0,
        "memory/peak_bytes": 5.0,
        "time/evaluation_s": 6.0,
    }


def test_what_is_no_number_of_32_bits(tmp_path: Path) -> None:
    board = opened(tmp_path)
    for step, value in enumerate((math.nan, math.inf, -math.inf, 1e39, -1e39)):
        board.add({"step": step, "loss": value}, {})
    board.close()
    found = list(shown(tmp_path)["policy/loss"].values())
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf, math.inf, -math.inf]


@given(step=st.integers(0, 2**63 - 1), value=st.floats(width=32, allow_nan=False))
def test_any_step_and_figure(
    step: int, value: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("board")
    write(folder, step, [step], value)
    assert shown(folder) == {"policy/loss": {step: value}}
    write(folder, step, [], value)
    assert shown(folder) == {}


def test_a_resumed_run_shows_no_step_twice(tmp_path: Path) -> None:
    write(tmp_path, 0, range(30), 1.0)
    write(tmp_path, 20, range(20, 25), 2.0)
    write(tmp_path, 22, range(22, 40), 3.0)
    expected = [1.0] * 20 + [2.0] * 2 + [3.0] * 18
    assert shown(tmp_path)["policy/loss"] == dict(enumerate(expected))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 3, "each run of the same second has a file of its own, and no other"
    steps = [step for name in names for step, tags in events(tmp_path / name) if tags]
    assert steps == list(range(40)), "also for a reader that knows nothing of sessions"


def test_a_reader_that_has_seen_the_old_steps_is_told(tmp_path: Path) -> None:
    write(tmp_path, 0, range(30), 1.0)
    (old,) = tmp_path.iterdir()
    before = old.read_bytes()
    write(tmp_path, 20, range(20, 25), 2.0)
    (new,) = (path for path in tmp_path.iterdir() if path != old)
    assert new.name > old.name
    old.write_bytes(before)
    assert list(shown(tmp_path)["policy/loss"]) == list(range(25))


def test_a_run_begun_anew_shows_nothing_of_the_old(tmp_path: Path) -> None:
    write(tmp_path, 0, range(5), 1.0)
    write(tmp_path, 0, range(2), 2.0)
    assert shown(tmp_path) == {"policy/loss": {0: 2.0, 1: 2.0}}


def test_a_torn_last_record_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, 0, range(4), 1.0)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    last = len(whole) - 16 - len(list(records(whole))[-1])  # where the record of step 3 begins
    for size in (0, 1, 40, *range(last - 20, len(whole))):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / path.name).write_bytes(whole[:size])
        write(folder, 4, [4], 2.0)
        found = shown(folder)["policy/loss"]
        assert found.pop(4) == 2.0
        assert list(found) == ([] if size <= 40 else [0, 1] if size < last else [0, 1, 2])


def test_a_flipped_bit_ends_what_is_kept(tmp_path: Path) -> None:
    write(tmp_path, 0, range(4), 1.0)
    (path,) = tmp_path.iterdir()
    broken = bytearray(path.read_bytes())
    broken[-10] ^= 1
    path.write_bytes(broken)
    write(tmp_path, 4, [4], 2.0)
    assert list(shown(tmp_path)["policy/loss"]) == [0, 1, 2, 4]


def test_files_of_others_stay_as_they_are(tmp_path: Path) -> None:
    for name in ("events.out.tfevents.1795774384.host", "events.out.tfevents.x.penjing", "notes"):
        (tmp_path / name).write_bytes(b"theirs")
    opened(tmp_path).close()
    theirs = [path for path in tmp_path.iterdir() if path.read_bytes() == b"theirs"]
    assert len(theirs) == 3


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(BadFile, match="cannot be written"):
        event_files(tmp_path / "file" / "below", 0)


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_it(tmp_path: Path) -> None:
    module = "tensorboard.backend.event_processing.event_accumulator"
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    write(tmp_path, 0, range(30), 1.0)
    reader = import_module(module).EventAccumulator(str(tmp_path), {"scalars": 0})
    assert [each.step for each in reader.Reload().Scalars("policy/loss")] == list(range(30))
    write(tmp_path, 20, range(20, 25), 2.0)
    for again in (reader, import_module(module).EventAccumulator(str(tmp_path), {"scalars": 0})):
        found = {each.step: each.value for each in again.Reload().Scalars("policy/loss")}
        assert found == dict.fromkeys(range(20), 1.0) | dict.fromkeys(range(20, 25), 2.0)


class FakeRun:
    """Of W&B: takes each step once, in their order."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.is_finished = False

    def log(self, values: dict[str, float], step: int) -> None:
        assert step >= self.step
        self.step = step
        self.logged.append((step, values))

    def finish(self) -> None:
        self.is_finished = True


class FakeWandb(ModuleType):
    class Error(Exception):
        pass

    def __init__(self, step: int = 0, complaint: str = "") -> None:
        super().__init__("wandb")
        self.run = FakeRun(step)
        self.asked: dict[str, Any] = {}
        self.complaint = complaint

    def init(self, **asked: Any) -> FakeRun:
        if self.complaint:
            raise self.Error(self.complaint)
        self.asked = asked
        return self.run


def test_weights_and_biases_gets_each_step_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = FakeWandb(step=5)  # 0 to 4 were shown before the kill, the snapshot is of step 3
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    board = weights_and_biases("project", "run 1/zero", tmp_path / "new", 3, {"seed": 0})
    for step in range(3, 7):
        board.add({"step": step, "loss": 1.0, "note": "x"}, {"wall_s": 2.0})
    board.close()
    figures = {"policy/loss": 1.0, "time/step_s": 2.0}
    assert wandb.run.logged == [(5, figures), (6, figures)]
    assert wandb.run.is_finished
    assert wandb.asked == {
        "project": "project",
        "id": "run-1-zero",
        "name": "run 1/zero",
        "dir": str(tmp_path / "new"),
        "config": {"seed": 0},
        "resume": "allow",
    }
    weights_and_biases("project", "run", tmp_path, 0, {})
    assert wandb.asked["resume"] is None, "from step 0 it is another run"


def test_weights_and_biases_is_never_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RequestError, match=r"not installed; pip install 'penjing\[wandb\]'"):
        weights_and_biases("project", "run", tmp_path, 0, {})
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(complaint="No API\n key"))
    with pytest.raises(RequestError, match="refuses: No API key; log in by"):
        weights_and_biases("project", "run", tmp_path, 0, {})


def test_facts_of_the_record_are_taken(tmp_path: Path) -> None:
    """A line of record.jsonl, in which what is not finite is a string."""
    board = opened(tmp_path)
    board.add(json.loads('{"step": 2, "loss": "nan", "tokens": 7}'), {})
    board.close()
    assert shown(tmp_path) == {"rollout/tokens": {2: 7.0}}


def write(folder: Path, first: int, steps: Iterable[int], loss: float) -> None:
    board = opened(folder, first)
    for step in steps:
        board.add({"step": step, "loss": loss}, {})
    board.close()


def shown(folder: Path) -> Shown:
    """What TensorBoard would show: a session that starts at a step ends older ones there."""
    found: Shown = {}
    for path in sorted(folder.glob("events*")):
        for step, tags in events(path):
            if tags is None:
                found = {tag: {s: v for s, v in c.items() if s < step} for tag, c in found.items()}
            for tag, value in (tags or {}).items():
                found.setdefault(tag, {})[step] = value
    return {tag: curve for tag, curve in found.items() if curve}


def events(path: Path) -> Iterator[tuple[int, dict[str, float] | None]]:
    """Steps with their figures; None where a session starts."""
    for data in records(path.read_bytes()):
        event = fields(data)
        if 3 in event:
            assert event[3] == [b"brain.Event:2"]
            continue
        assert struct.unpack("<d", event[1][0]) == (clock(),)
        values = [fields(value) for value in fields(event.get(5, [b""])[0]).get(1, [])]
        figures = {v[1][0].decode(): struct.unpack("<f", v[2][0])[0] for v in values}
        is_start = 7 in event and fields(event[7][0])[1] == [1]
        yield event[2][0], None if is_start else figures


def records(whole: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(whole):
        (size,) = struct.unpack("<Q", whole[at : at + 8])
        data = whole[at + 12 : at + 12 + size]
        checks = struct.unpack("<II", whole[at + 8 : at + 12] + whole[at + 12 + size :][:4])
        assert checks == (masked(whole[at : at + 8]), masked(data))
        yield data
        at += 16 + size


def masked(data: bytes) -> int:
    """CRC-32C bit by bit, then as TensorFlow masks it."""
    crc = 2**32 - 1
    for byte in data:
        for bit in range(8):
            odd = (crc ^ byte >> bit) & 1
            crc = crc >> 1 ^ 0x82F63B78 * odd
    crc ^= 2**32 - 1
    return ((crc >> 15 | crc << 17) % 2**32 + 0xA282EAD8) % 2**32


def fields(data: bytes) -> dict[int, list[Any]]:
    """Of a message in the encoding of Protocol Buffers, by number."""
    found: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value += (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        kind = key & 7
        value: Any = varint() if kind in (0, 2) else None
        if kind:
            size = {1: 8, 2: value, 5: 4}[kind]
            value = data[at : at + size]
            assert len(value) == size
            at += size
        found.setdefault(key >> 3, []).append(value)
    return found
