"""A run on disk: what a kill leaves, what another run may not touch, what is damaged."""

import errno
import fcntl
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penjing.errors import BadFile, Contradiction
from penjing.evaluate.sample import Sample
from penjing.evaluate.store import Store, read_run
from penjing.tasks.problem import Grade, Verdict

SETTINGS = {"task": "tiny", "samples": 2, "penjing": "1"}


def sample(index: int, response: str = "a\u2028b\ud800") -> Sample:
    return Sample(
        problem="p",
        index=index,
        seed=1,
        response=response,
        finish_reason="stop",
        num_prompt_tokens=1,
        num_tokens=2,
        num_thinking_tokens=None,
        wall_s=0.5,
        grade=Grade(verdict=Verdict.WRONG, reason="r"),
    )


def test_samples_come_back(tmp_path: Path) -> None:
    with Store(tmp_path / "run", SETTINGS) as store:
        for index in range(3):
            store.append(sample(index))
    with Store(tmp_path / "run", {**SETTINGS, "penjing": "2"}) as store:
        assert store.samples == [sample(index) for index in range(3)]
        store.append(sample(3))
    settings, found = read_run(tmp_path / "run")
    assert settings == SETTINGS
    assert found == [sample(index) for index in range(4)]


@pytest.mark.parametrize("cut", [1, 20, 10_000])
def test_a_line_that_was_being_written_is_dropped(tmp_path: Path, cut: int) -> None:
    with Store(tmp_path, SETTINGS) as store:
        store.append(sample(0))
        store.append(sample(1))
    file = tmp_path / "samples.jsonl"
    whole = file.read_bytes()
    line = len(whole) // 2
    file.write_bytes(whole[: -min(cut, line)])
    with Store(tmp_path, SETTINGS) as store:
        assert store.samples == [sample(0)]
        store.append(sample(1))
    assert file.read_bytes() == whole


def test_another_run_is_refused_and_loses_nothing(tmp_path: Path) -> None:
    with Store(tmp_path, SETTINGS) as store:
        store.append(sample(0))
    before = (tmp_path / "samples.jsonl").read_bytes()
    with pytest.raises(Contradiction, match="samples was 2, is 3; x was None, is 1"):
        Store(tmp_path, {**SETTINGS, "samples": 3, "x": 1})
    assert (tmp_path / "samples.jsonl").read_bytes() == before


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    with Store(tmp_path, SETTINGS), pytest.raises(BadFile, match="is being written by another run"):
        Store(tmp_path, SETTINGS)
    Store(tmp_path, SETTINGS).close()


@pytest.mark.parametrize("damage", [b"{}\n", b"not json\n", b"\xff\n", b"[1]\n"])
def test_damage_in_the_middle_is_named(tmp_path: Path, damage: bytes) -> None:
    with Store(tmp_path, SETTINGS) as store:
        store.append(sample(0))
        store.append(sample(1))
    file = tmp_path / "samples.jsonl"
    first, second, _ = file.read_bytes().split(b"\n")
    file.write_bytes(first + b"\n" + damage + second + b"\n")
    with pytest.raises(BadFile, match=r"samples\.jsonl: line 2 is no sample: .*mend or remove"):
        Store(tmp_path, SETTINGS)
    assert file.read_bytes().endswith(second + b"\n")


def test_folders_that_hold_no_run(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"holds no run: it has no run\.json"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(BadFile, match="holds no object"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    with pytest.raises(BadFile, match=r"samples\.jsonl cannot be read"):
        read_run(tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BadFile, match="cannot be written"):
        Store(file, SETTINGS)


def test_samples_without_settings_are_not_ours(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_bytes(b"somebody's only line")
    with pytest.raises(BadFile, match=r"has a samples\.jsonl but no run\.json"):
        Store(tmp_path, SETTINGS)
    assert file.read_bytes() == b"somebody's only line"


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """No file may grow beyond; a write that begins below is cut short, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    def run() -> None:
        with Store(tmp_path, SETTINGS) as store:
            store.append(sample(0))
            with full_disk((tmp_path / "samples.jsonl").stat().st_size + 20):
                store.append(sample(1))

    with pytest.raises(BadFile, match=r"cannot be written: .*; free some space"):
        run()
    with Store(tmp_path, SETTINGS) as store:
        assert store.samples == [sample(0)]
    with full_disk(5), pytest.raises(BadFile, match="free some space"):
        Store(tmp_path / "new", SETTINGS)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["samples.jsonl"]
    Store(tmp_path / "new", SETTINGS).close()


def test_a_folder_that_cannot_be_locked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lockless(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", lockless)
    with pytest.raises(BadFile, match="cannot be locked: No locks available"):
        Store(tmp_path, SETTINGS)
