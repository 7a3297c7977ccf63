"""Curves while they grow: event files that TensorBoard shows, and Weights & Biases for who asks.

An event file is written here, not by a library: a record is one append, so that a process that is
killed loses nothing but perhaps the one it was writing. The format is TensorFlow's: records framed
as in tensorflow/core/lib/io/record_writer.h, each a message of tensorflow/core/util/event.proto.
"""

import math
import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from penjing.errors import BadFile, RequestError
from penjing.train.record import Facts


class Board(Protocol):
    def add(self, facts: Facts, times: Facts) -> None:
        """Of one step; what is no number is left out."""

    def close(self) -> None:
        """Nothing may be added afterwards."""


def event_files(
    folder: Path, first_step: int, clock: Callable[[], float] = time.time
) -> "EventFiles":
    """A new event file for the steps from ``first_step`` on; earlier ones lose these steps.

    A TensorBoard that is running is told as well. Raises ``BadFile``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = sorted(folder.glob(f"{_PREFIX}{'[0-9]' * 10}{_SUFFIX}"))
        for path in earlier:
            _cut(path, first_step)
        stamp = max([int(clock()), *(_stamp(path) + 1 for path in earlier)])
        return EventFiles(folder / f"{_PREFIX}{stamp:010d}{_SUFFIX}", first_step, clock)
    except OSError as error:
        raise BadFile(f"{folder} cannot be written: {error.strerror}; give another") from None


class EventFiles:
    """``path`` must be new. Readers take the files of a folder in the order of their names."""

    def __init__(self, path: Path, first_step: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._file = path.open("xb", buffering=0)
        self._append(_bytes(3, b"brain.Event:2"))
        self._append(_varint(2, first_step) + _bytes(7, _varint(1, _START)))

    def add(self, facts: Facts, times: Facts) -> None:
        numbers = scalars(facts, times).items()
        values = [_bytes(1, tag.encode()) + _float(2, value) for tag, value in numbers]
        summary = b"".join(_bytes(1, value) for value in values)
        self._append(_varint(2, facts["step"]) + _bytes(5, summary))

    def close(self) -> None:
        self._file.close()

    def _append(self, event: bytes) -> None:
        self._file.write(_framed(_double(1, self._clock()) + event))


def weights_and_biases(
    project: str, run: str, folder: Path, first_step: int, config: Mapping[str, Any]
) -> "WeightsAndBiases":
    """``run`` is its name and its id; one that goes on is resumed, one from step 0 begins anew.

    The package decides by itself, as by WANDB_MODE=offline, where the run goes; its files are in
    ``folder``. Raises ``RequestError``.
    """
    try:
        wandb = import_module("wandb")
    except ImportError:
        raise RequestError(
            "Weights & Biases is not installed; pip install 'penjing[wandb]', or leave it out: "
            "event files need nothing"
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        begun = wandb.init(
            project=project,
            id=re.sub(r"[^\w.-]", "-", run),
            name=run,
            dir=str(folder),
            config=dict(config),
            resume="allow" if first_step else None,
        )
    except wandb.Error as error:
        text = " ".join(str(error).split())
        raise RequestError(
            f"Weights & Biases refuses: {text}; log in by `wandb login`, or set WANDB_MODE=offline"
        ) from None
    return WeightsAndBiases(begun)


class WeightsAndBiases:
    """Steps that a resumed run has shown before it was killed are the same again, and left out."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def add(self, facts: Facts, times: Facts) -> None:
        if facts["step"] >= self._run.step:
            self._run.log(scalars(facts, times), step=facts["step"])

    def close(self) -> None:
        self._run.finish()


def scalars(facts: Facts, times: Facts) -> dict[str, float]:
    """By the names that boards show, of which the first part is a group."""
    named = {_NAMES.get(name, name.replace(".", "/", 1)): v for name, v in facts.items()}
    timed = {
        _NAMES.get(name, f"time/{name}"): value for name, value in times.items() if name != "step"
    }
    return {
        name: float(value)
        for name, value in {**named, **timed}.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }


_NAMES: Mapping[str, str] = {
    "reward": "reward/total",
    "flat_groups": "rollout/flat_groups",
    "faults": "rollout/faults",
    "tokens": "rollout/tokens",
    "wasted_tokens": "rollout/wasted_tokens",
    "problems": "rollout/problems",
    "length": "rollout/length",
    "thinking": "rollout/thinking",
    "thinks": "rollout/thinks",
    "truncated": "rollout/truncated",
    "loss": "policy/loss",
    "norm": "policy/norm",
    "rate": "policy/rate",
    "entropy": "policy/entropy",
    "divergence": "policy/divergence",
    "clipped": "policy/clipped",
    "least_ratio": "policy/least_ratio",
    "most_ratio": "policy/most_ratio",
    "largest_gap": "mismatch/largest",
    "mean_gap": "mismatch/mean",
    "wall_s": "time/step_s",
    "peak_bytes": "memory/peak_bytes",
}

_PREFIX, _SUFFIX = "events.out.tfevents.", ".penjing"
_START = 1  # of SessionLog.SessionStatus: forget what was shown of this step and later ones


def _stamp(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX))


def _cut(path: Path, first_step: int) -> None:
    """Keeps the records before ``first_step``; what a killed process left half written goes too.

    In a file of its own that takes the other's place: a reader of the old one is not misled.
    """
    whole = path.read_bytes()
    kept = 0
    for event, end in _records(whole):
        if _step_of(event) >= first_step:
            break
        kept = end
    if kept < len(whole):
        partial = path.with_name(".cut.partial")  # a name in which no reader looks for events
        partial.write_bytes(whole[:kept])
        partial.replace(path)


def _records(whole: bytes) -> Iterator[tuple[bytes, int]]:
    """Each event with where its record ends, up to the first that is not sound."""
    at = 0
    while at + 12 <= len(whole):
        (size,) = struct.unpack_from("<Q", whole, at)
        end = at + 12 + size + 4
        event = whole[at + 12 : end - 4]
        if whole[at:end] != _framed(event):
            return
        yield event, end
        at = end


def _framed(data: bytes) -> bytes:
    size = struct.pack("<Q", len(data))
    return size + _checksum(size) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """CRC-32C (RFC 3720, B.4), masked as TensorFlow does: turned by 15 bits, and a constant on."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """The checksum of Castagnoli's polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = tuple(_remainder(byte) for byte in range(256))


def _step_of(event: bytes) -> int:
    """Of an event that this module wrote; 0 for the first, which has none."""
    tag, at = _read_varint(event, 9)  # behind the time
    return _read_varint(event, at)[0] if tag == 2 << 3 else 0


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return value | data[at] << shift, at + 1


def _number(value: int) -> bytes:
    """As Protocol Buffers have it: seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _varint(field: int, value: int) -> bytes:
    return _number(field << 3) + _number(value)


def _double(field: int, value: float) -> bytes:
    return _number(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _number(field << 3 | 2) + _number(len(value)) + value


def _float(field: int, value: float) -> bytes:
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        packed = struct.pack("<f", math.copysign(math.inf, value))
    return _number(field << 3 | 5) + packed
