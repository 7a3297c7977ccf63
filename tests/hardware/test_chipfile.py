"""A chip file is read strictly, and every error names the file and the key."""

import re

import pytest

from penjing.errors import BadFile, UnknownName
from penjing.hardware.chip import Confidence, Figure
from penjing.hardware.chipfile import parse_chip
from penjing.hardware.precision import Precision

GOOD = """
name = "X1"
vendor = "Acme"
architecture = "x"
year = 2026
node_chips = 4
aliases = ["X-one"]
notes = ["a note"]

[sources]
sheet = "Acme X1 datasheet"

[compute]
bf16 = { value = "100 TFLOP/s", source = ["sheet"], confidence = "official" }

[memory]
type = "HBM3"
capacity = { value = "64 GiB", source = ["sheet"], confidence = "official", note = "usable" }
bandwidth = { value = "2 TB/s", source = ["sheet"], confidence = "press" }

[fabric]
name = "X-Link"
bandwidth = { value = "200 GB/s", source = ["sheet"], confidence = "official" }

[network]
name = "ether"

[power]
tdp = { value = "0.5 kW", source = ["sheet"], confidence = "official" }

[die]
area = { value = "814 mm2", source = ["sheet"], confidence = "press" }

[price]
purchase = { value = "9000 USD", source = ["sheet"], confidence = "press" }
rental = { value = "1.5 USD/h", source = ["sheet"], confidence = "press" }
date = "2026-01"
"""


def value(figure: Figure | None) -> float:
    assert figure
    return figure.value


def test_a_whole_file_in_si_units() -> None:
    chip = parse_chip(GOOD, "x1.toml")
    assert (chip.name, chip.family, chip.node_chips, chip.aliases) == ("X1", "X1", 4, ("X-one",))
    assert chip.flops_per_s(Precision.BF16) == 100e12
    assert chip.capacity_bytes == 64 * 2**30
    assert chip.bandwidth_bytes_per_s == 2e12
    assert chip.fabric is not None
    assert value(chip.fabric.bytes_per_s) == 200e9
    assert chip.network is not None
    assert chip.network.bytes_per_s is None
    assert value(chip.power_w) == 500
    assert value(chip.die_area_mm2) == 814
    assert value(chip.price_usd) == 9000
    assert value(chip.rental_usd_per_h) == 1.5
    assert chip.price_date == "2026-01"


def test_a_figure_keeps_its_spelling_source_confidence_and_note() -> None:
    assert parse_chip(GOOD, "x1.toml").memory.capacity_bytes == Figure(
        value=64 * 2.0**30,
        text="64 GiB",
        source=("sheet",),
        confidence=Confidence.OFFICIAL,
        note="usable",
    )


def test_the_least_file_has_a_name_and_a_memory_type() -> None:
    text = 'name="Y"\nvendor="A"\narchitecture="y"\nyear=2020\n[memory]\ntype="DDR"'
    chip = parse_chip(text, "y.toml")
    assert (chip.node_chips, chip.is_cpu, chip.fabric, chip.power_w) == (8, False, None, None)
    assert dict(chip.compute_flops_per_s) == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bf16 =", "bf61 =", "unknown key in x1.toml [compute] 'bf61'; nearest: bf16"),
        ("vendor =", "vendr =", "unknown key in x1.toml 'vendr'; nearest: vendor"),
        ("tdp =", "tpd =", "unknown key in x1.toml [power] 'tpd'; nearest: tdp"),
        ("type =", "typ =", "unknown key in x1.toml [memory] 'typ'; nearest: type"),
        (
            'confidence = "official", note',
            'confidnce = "official", note',
            "unknown key in x1.toml [memory] capacity 'confidnce'; nearest: confidence",
        ),
        (
            'value = "64 GiB", source = ["sheet"]',
            'value = "64 GiB", source = ["sheat"]',
            "unknown source in x1.toml [memory] capacity 'sheat'; nearest: sheet",
        ),
        (
            'confidence = "official", note',
            'confidence = "offical", note',
            "unknown confidence in x1.toml [memory] capacity 'offical'; "
            "nearest: official, official-unopened",
        ),
    ],
)
def test_unknown_words_name_the_nearest(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(UnknownName, match=f"^{re.escape(message)}$"):
        parse_chip(GOOD.replace(old, new), "x1.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "X1"', "", "x1.toml: name is missing"),
        ('name = "X1"', 'name = ""', "x1.toml: name = '' must be a non-empty string"),
        ('name = "X1"', "name = 5", "x1.toml: name = 5 must be a non-empty string"),
        ("year = 2026", "", "x1.toml: year is missing"),
        ("year = 2026", 'year = "2026"', "x1.toml: year = '2026' must be a whole number >= 1990"),
        ("year = 2026", "year = true", "x1.toml: year = True must be a whole number >= 1990"),
        ("node_chips = 4", "node_chips = 0", "x1.toml: node_chips = 0 must be a whole number >= 1"),
        (
            'aliases = ["X-one"]',
            'aliases = "X-one"',
            "x1.toml: aliases = 'X-one' must be a list of non-empty strings",
        ),
        ("node_chips = 4", "is_cpu = 1", "x1.toml: is_cpu = 1 must be true or false"),
        ('type = "HBM3"', "", "x1.toml [memory]: type is missing"),
        (
            'sheet = "Acme X1 datasheet"',
            "sheet = 1",
            "x1.toml [sources]: sheet = 1 must be a non-empty string",
        ),
        (
            'value = "64 GiB"',
            'value = "64"',
            "x1.toml [memory] capacity '64' has no unit; "
            "write it with a unit such as GB or GiB, as in 96GiB",
        ),
        (
            'value = "64 GiB"',
            'value = "-64 GiB"',
            "x1.toml [memory] capacity '-64 GiB': must be above zero",
        ),
        (
            'value = "200 GB/s"',
            'value = "200 Gb/s"',
            "x1.toml [fabric] bandwidth '200 Gb/s' unit 'Gb/s' is not known; "
            "write it with a unit such as GB/s",
        ),
        (
            'value = "814 mm2"',
            'value = "814"',
            "x1.toml [die] area '814': write it with mm2, as in 814 mm2",
        ),
        (
            'value = "64 GiB", source = ["sheet"]',
            'value = "64 GiB", source = []',
            "x1.toml [memory] capacity: source is missing; cite at least one key of [sources]",
        ),
        (
            'value = "64 GiB", ',
            "",
            "x1.toml [memory] capacity: value is missing",
        ),
        (
            'bandwidth = { value = "2 TB/s", source = ["sheet"], confidence = "press" }',
            "bandwidth = 2e12",
            "x1.toml [memory] bandwidth: must be a table",
        ),
    ],
)
def test_bad_values_name_the_file_and_the_key(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(BadFile, match=f"^{re.escape(message)}$"):
        parse_chip(GOOD.replace(old, new, 1), "x1.toml")


def test_text_that_is_no_toml() -> None:
    with pytest.raises(BadFile, match=r"^x1\.toml: not TOML: "):
        parse_chip("name = ", "x1.toml")
