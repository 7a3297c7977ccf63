from dataclasses import FrozenInstanceError, replace

import pytest

from penjing.errors import Unpublished
from penjing.hardware.chip import Chip, Confidence, Figure, Memory
from penjing.hardware.precision import Precision


def figure(value: float) -> Figure:
    return Figure(value=value, text=f"{value}", source=("a",), confidence=Confidence.OFFICIAL)


def chip(**changes: object) -> Chip:
    plain = Chip(
        name="X1",
        vendor="Acme",
        variant="",
        family="X",
        architecture="x",
        year=2026,
        compute_flops_per_s={Precision.BF16: figure(1e14)},
        memory=Memory(
            type="HBM", capacity_bytes=figure(2.0**36), bandwidth_bytes_per_s=figure(2e12)
        ),
        sources={"a": "a datasheet"},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_published_figures_are_given() -> None:
    assert chip().flops_per_s(Precision.BF16) == 1e14
    assert chip().capacity_bytes == 2.0**36
    assert chip().bandwidth_bytes_per_s == 2e12


def test_supports_only_what_is_published() -> None:
    assert chip().supports(Precision.BF16)
    assert not chip().supports(Precision.FP8)


def test_an_unpublished_rate_is_named_with_the_reason() -> None:
    secret = chip(notes=("The vendor is silent.", "second note"))
    with pytest.raises(Unpublished) as caught:
        secret.flops_per_s(Precision.FP8)
    assert str(caught.value) == (
        "X1: fp8 compute is not published (The vendor is silent); "
        "nothing is guessed, so choose a chip whose figures are known"
    )


@pytest.mark.parametrize(
    ("what", "words"),
    [("capacity_bytes", "memory capacity"), ("bandwidth_bytes_per_s", "memory bandwidth")],
)
def test_unpublished_memory_is_named(what: str, words: str) -> None:
    with pytest.raises(Unpublished, match=f"^X1: {words} is not published; nothing is guessed"):
        getattr(chip(memory=Memory(type="HBM")), what)


def test_figures_holds_what_is_published_and_nothing_else() -> None:
    assert {name: f.value for name, f in chip(power_w=figure(400)).figures().items()} == {
        "bf16_flops_per_s": 1e14,
        "memory_bytes": 2.0**36,
        "memory_bytes_per_s": 2e12,
        "power_w": 400,
    }


def test_a_chip_can_be_a_key_and_cannot_change() -> None:
    assert len({chip(): 1, chip(): 2}) == 1
    with pytest.raises(FrozenInstanceError):
        chip().year = 2020  # type: ignore[misc]


def test_confidence_runs_from_best_to_worst() -> None:
    assert list(Confidence)[:2] == [Confidence.MEASURED, Confidence.OFFICIAL]
    assert list(Confidence)[-1] is Confidence.UNVERIFIED
