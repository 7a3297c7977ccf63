"""Snapshots: whole or not at all, whatever happens to the process, the disk or the files."""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch

from penjing.errors import BadFile
from penjing.train.snapshot import Snapshot, latest_snapshot, save_snapshot


def snapshot(step: int, size: int = 100) -> Snapshot:
    tensors = {"a.b": torch.arange(float(size)) + step, "c": torch.tensor([step])}
    return Snapshot(step=step, tensors=tensors, facts={"next": step * 2})


def same(one: Snapshot, other: Snapshot) -> bool:
    return (
        one.step == other.step
        and one.facts == other.facts
        and one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(one.tensors[n], other.tensors[n]) for n in one.tensors)
    )


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    assert latest_snapshot(tmp_path / "none") == (None, [])
    for step in (1, 2, 3):
        save_snapshot(tmp_path, snapshot(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000002", "00000003"]
    found, complaints = latest_snapshot(tmp_path)
    assert found is not None
    assert same(found, snapshot(3))
    assert complaints == []


def test_damaged_later_ones_and_torn_ones_make_room(tmp_path: Path) -> None:
    """Else what is saved on the way back to them would be the oldest, and deleted at once."""
    for step in (6, 7):
        save_snapshot(tmp_path, snapshot(step))
    (tmp_path / ".00000008.0a1b2c3d.partial").mkdir()
    save_snapshot(tmp_path, snapshot(1))
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]


def flip(folder: Path) -> None:
    file = folder / "state.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(folder: Path) -> None:
    file = folder / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-5])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "a cut file": cut,
    "no tensors": lambda folder: (folder / "state.safetensors").unlink(),
    "no facts": lambda folder: (folder / "state.json").unlink(),
    "bad facts": lambda folder: (folder / "state.json").write_text("[1"),
    "another digit": lambda folder: (folder / "state.json").write_text(
        (folder / "state.json").read_text().replace('"next": ', '"next": 1')
    ),
    "other facts": lambda folder: (folder / "state.json").write_text("[1]"),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_one_is_told_and_the_one_before_is_used(tmp_path: Path, damage: str) -> None:
    save_snapshot(tmp_path, snapshot(4))
    save_snapshot(tmp_path, snapshot(5))
    DAMAGES[damage](tmp_path / "00000005")
    found, complaints = latest_snapshot(tmp_path)
    assert found is not None
    assert same(found, snapshot(4))
    assert len(complaints) == 1
    assert "00000005 is damaged: " in complaints[0]
    DAMAGES[damage](tmp_path / "00000004")
    nothing, both = latest_snapshot(tmp_path)
    assert nothing is None
    assert len(both) == 2


def test_a_full_disk_keeps_the_one_before(tmp_path: Path) -> None:
    save_snapshot(tmp_path, snapshot(1))
    program = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from penjing.train.snapshot import Snapshot, save_snapshot\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "big = Snapshot(step=2, tensors={'a': torch.zeros(1_000_000)}, facts={})\n"
        "try:\n    save_snapshot(Path(sys.argv[1]), big)\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("BadFile")
    assert "the one before is kept" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000001"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_kill_at_any_instant_leaves_a_whole_one(tmp_path: Path) -> None:
    program = (
        "import sys, torch\nfrom pathlib import Path\n"
        "from penjing.train.snapshot import Snapshot, save_snapshot\n"
        "print('ready', flush=True)\n"
        "for step in range(1, 10_000):\n"
        "    tensors = {'a': torch.full((300_000,), float(step))}\n"
        "    made = Snapshot(step=step, tensors=tensors, facts={'n': step})\n"
        "    save_snapshot(Path(sys.argv[1]), made)\n"
    )
    random = Random(1)
    command = [sys.executable, "-c", program, str(tmp_path)]
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.3 + random.random() * 0.3)
            process.kill()
        found, complaints = latest_snapshot(tmp_path)
        assert found is not None
        assert complaints == []
        assert found.facts == {"n": found.step}
        assert torch.equal(found.tensors["a"], torch.full((300_000,), float(found.step)))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadFile, match="cannot take a snapshot"):
        save_snapshot(tmp_path / "file", snapshot(1))
