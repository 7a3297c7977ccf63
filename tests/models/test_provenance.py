import re

import pytest

from penjing.models.catalogue import bundled_models, load_model
from penjing.models.provenance import Counting, Published, counted, read_index

_SCALE = {"M": 10**6, "B": 10**9, "T": 10**12}
INDEX = read_index()


def _value_and_unit(figure: str) -> tuple[float, float]:
    """The number that ``figure`` spells, and what one of its last digit is worth."""
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?([MBT]?)", figure)
    assert match, figure
    scale = _SCALE.get(match[3], 1)
    decimals = len(match[2] or "")
    return float(figure.rstrip("MBT")) * scale, scale / 10**decimals


def _tolerance(published: Published, rounding: float) -> float:
    value, unit = _value_and_unit(published.figure)
    exact = unit == 1
    return 1e-6 * value if exact else rounding * unit


@pytest.mark.parametrize("name", bundled_models())
def test_our_count_is_the_published_one(name: str) -> None:
    """To a millionth where all digits are published, else to the rounding, and to 0.2 %."""
    published = INDEX[name].params
    value, _ = _value_and_unit(published.figure)
    ours = counted(load_model(name), published.counting)
    assert abs(ours - value) <= _tolerance(published, 0.5), (name, ours)
    assert abs(ours - value) <= 0.002 * value, (name, ours)


@pytest.mark.parametrize("name", [n for n, entry in INDEX.items() if entry.active])
def test_our_active_count_is_the_published_one(name: str) -> None:
    """To 0.6 of the last digit: Qwen's 3.3 B and DeepSeek's 2.4 B are cut, not rounded."""
    published = INDEX[name].active
    assert published is not None
    value, _ = _value_and_unit(published.figure)
    ours = counted(load_model(name), published.counting)
    assert abs(ours - value) <= _tolerance(published, 0.6), (name, ours)


def test_nearly_all_totals_are_held_to_the_last_digit() -> None:
    rounded = [n for n, e in INDEX.items() if _value_and_unit(e.params.figure)[1] > 1]
    assert set(rounded) == {"DeepSeek-V3", "Hy3", "GPT-3-175B"}


@pytest.mark.parametrize("name", bundled_models())
def test_every_figure_has_a_source(name: str) -> None:
    entry = INDEX[name]
    published = [p for p in (entry.params, entry.active) if p]
    assert all(len(s) > 10 for s in (entry.config_source, *(p.source for p in published)))


@pytest.mark.parametrize(
    ("counting", "expected"),
    [
        (Counting.MAIN, 671_026_419_200),
        (Counting.WITH_MTP, 682_636_487_424),
        # DeepSeek-R1 on the model hub, to the last parameter.
        (Counting.STORED, 684_489_845_504),
        (Counting.ACTIVE, 37_552_297_472),
        (Counting.ACTIVE_WITHOUT_EMBEDDING, 36_625_618_432),
        (Counting.ACTIVE_BODY, 35_698_939_392),
    ],
)
def test_what_each_counting_includes(counting: Counting, expected: int) -> None:
    assert counted(load_model("DeepSeek-R1"), counting) == expected
