"""Units: GB against GiB is settled here and nowhere else."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity
from penjing.units import (
    format_bytes,
    format_seconds,
    format_si,
    parse_bytes,
    parse_count,
    parse_rate,
    parse_seconds,
    parse_usd,
    parse_usd_per_hour,
    parse_watts,
)

POSITIVE = st.floats(min_value=1e-3, max_value=1e6, allow_nan=False)
POWERS = st.sampled_from([("k", "Ki", 1), ("M", "Mi", 2), ("G", "Gi", 3), ("T", "Ti", 4)])


@given(POSITIVE, POWERS)
def test_decimal_prefixes_are_thousands_and_binary_ones_1024s(
    value: float, power: tuple[str, str, int]
) -> None:
    decimal, binary, exponent = power
    assert parse_bytes(f"{value!r} {decimal}B") == pytest.approx(value * 1000.0**exponent)
    assert parse_bytes(f"{value!r} {binary}B") == pytest.approx(value * 1024.0**exponent)


@given(POSITIVE)
def test_a_space_before_the_unit_changes_nothing(value: float) -> None:
    assert parse_bytes(f"{value!r}GiB") == parse_bytes(f"  {value!r} GiB ")


@given(POSITIVE)
def test_a_bit_rate_is_no_byte_rate(value: float) -> None:
    with pytest.raises(BadQuantity):
        parse_rate(f"{value!r} Gb/s", "B", "fabric")
    with pytest.raises(BadQuantity):
        parse_rate(f"{value!r} GB/s", "b", "fabric")


@given(st.floats(min_value=1.0, max_value=1e15, allow_nan=False))
def test_formatted_bytes_parse_back_within_rounding(value: float) -> None:
    assert parse_bytes(format_bytes(value)) == pytest.approx(value, rel=0.51)
    if value >= 10 * 2**10:
        assert parse_bytes(format_bytes(value)) == pytest.approx(value, rel=0.01)


@given(st.integers(min_value=1, max_value=10**12))
def test_a_whole_number_is_read_exactly(value: int) -> None:
    assert parse_count(f"{value}") == value
    assert parse_count(f"{value:,}") == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("50ms", 0.05),
        ("2 s", 2.0),
        ("1.5min", 90.0),
        ("3h", 10800.0),
        ("7 us", 7e-6),
        ("2d", 172800),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


def test_a_bare_number_is_refused_and_the_message_names_50ms() -> None:
    with pytest.raises(BadQuantity) as caught:
        parse_seconds("50", "tpot")
    assert str(caught.value) == "tpot '50' has no unit; write it with ms or s, as in 50ms"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "size '': not a number with a unit"),
        ("GiB", "size 'GiB': not a number with a unit"),
        ("80", "size '80' has no unit; write it with a unit such as GB or GiB, as in 96GiB"),
        ("0GB", "size '0GB': must be above zero"),
        ("-1GB", "size '-1GB': must be above zero"),
        ("nanGB", "size 'nanGB': not a number with a unit"),
        ("1e999GB", "size '1e999GB': not a finite number"),
        (
            "80 gb",
            "size '80 gb' unit 'gb' is not known; "
            "write it with a unit such as GB or GiB, as in 96GiB",
        ),
    ],
)
def test_bad_sizes(text: str, message: str) -> None:
    with pytest.raises(BadQuantity, match=f"^{re.escape(message)}$"):
        parse_bytes(text)


def test_rates_keep_their_base() -> None:
    assert parse_rate("148 TFLOP/s", "FLOP", "bf16") == 148e12
    assert parse_rate("4000 GB/s", "B", "bandwidth") == 4e12
    assert parse_rate("1.5 TiB/s", "B", "bandwidth") == 1.5 * 2**40
    with pytest.raises(BadQuantity, match="write it with a unit such as GFLOP/s"):
        parse_rate("148 TFLOPS", "FLOP", "bf16")
    with pytest.raises(BadQuantity):
        parse_rate("1 TiFLOP/s", "FLOP", "bf16")


def test_power_and_money() -> None:
    assert parse_watts("1.2 kW") == 1200
    assert parse_usd("12,000 USD") == 12000
    assert parse_usd_per_hour("1.30 USD/h") == parse_usd_per_hour("1.30") == 1.3
    with pytest.raises(BadQuantity):
        parse_usd("12000 EUR")


@pytest.mark.parametrize(
    ("text", "count"),
    [("4096", 4096), ("64k", 64_000), ("14.8T", 14_800_000_000_000), ("2B", 2 * 10**9)],
)
def test_counts(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.5", "count '1.5': must be a whole number of at least 1"),
        ("0", "count '0': must be a whole number of at least 1"),
        ("-3", "count '-3': must be a whole number of at least 1"),
        ("5x", "count '5x': 'x' is no multiplier; use k, M, B or T"),
        ("many", "count 'many': not a number with a unit"),
    ],
)
def test_bad_counts(text: str, message: str) -> None:
    with pytest.raises(BadQuantity, match=f"^{re.escape(message)}$"):
        parse_count(text)


def test_the_least_count_can_be_raised() -> None:
    assert parse_count("0", at_least=0) == 0
    with pytest.raises(BadQuantity, match="at least 2"):
        parse_count("1", at_least=2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 B"),
        (1023.0, "1023 B"),
        (96 * 2**30, "96.0 GiB"),
        (1.5 * 2**40, "1.50 TiB"),
    ],
)
def test_bytes_are_written_with_binary_prefixes(value: float, text: str) -> None:
    assert format_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.05, "50 ms"),
        (1.0, "1 s"),
        (90.0, "90 s"),
        (180.0, "3 min"),
        (3e-6, "3 µs"),
        (86400 * 3, "3 d"),
    ],
)
def test_seconds_are_written_in_a_readers_unit(value: float, text: str) -> None:
    assert format_seconds(value) == text


@given(POSITIVE)
def test_si_prefixes_keep_four_digits(value: float) -> None:
    number, unit = format_si(value * 1e9, "B/s").split(" ")
    scale = parse_rate(f"1 {unit}", "B", "rate")
    assert math.isclose(float(number) * scale, value * 1e9, rel_tol=1e-3)
