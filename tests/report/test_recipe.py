"""Recipes read as tables, with what was set."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.report.recipe import parse_recipe, settings, stage_tables

TEXT = """
seed = 0
[evaluation]
samples = 2
[[stages]]
name = "zero"
steps = 3
"""


def with_setting(key: str, value: str) -> str:
    return f"{TEXT}\n[[settings]]\nkey = '{key}'\nvalue = {value}\n"


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("seed", "7", ("seed",)),
        ("evaluation.samples", "7", ("evaluation", "samples")),
        ("tasks.sums.data", "7", ("tasks", "sums", "data")),
    ],
)
def test_a_setting_goes_where_its_path_leads(key: str, value: str, path: tuple[str, ...]) -> None:
    found: Any = parse_recipe(with_setting(key, value))
    for name in path:
        found = found[name]
    assert found == 7


def test_a_setting_of_a_stage_goes_into_the_stage() -> None:
    found = parse_recipe(with_setting("zero.rewards.accuracy", "0.5"))
    assert stage_tables(found)["zero"] == {
        "name": "zero",
        "steps": 3,
        "rewards": {"accuracy": 0.5},
    }
    assert "zero" not in found
    assert settings(found) == {"zero.rewards.accuracy": 0.5}


def test_the_last_of_two_settings_counts() -> None:
    text = with_setting("zero.steps", "4") + with_setting("zero.steps", "5").removeprefix(TEXT)
    assert stage_tables(parse_recipe(text))["zero"]["steps"] == 5


@given(st.text('abc. "', max_size=12))
def test_a_setting_that_leads_nowhere_breaks_nothing(key: str) -> None:
    found = parse_recipe(with_setting(key, "1"))
    assert stage_tables(found)["zero"]["name"] in ("zero", 1)


def test_settings_of_other_shapes_are_passed() -> None:
    assert settings({"settings": 3}) == {}
    assert settings({"settings": [1, {"key": 2, "value": 1}, {"key": "a"}]}) == {}
    assert stage_tables({"stages": 3}) == {}
    found = parse_recipe(with_setting("seed.x", "1") + "[[settings]]\nkey = 'zero'\nvalue = 1\n")
    assert found["seed"] == 0


def test_what_is_no_toml() -> None:
    with pytest.raises(ValueError, match="Invalid value"):
        parse_recipe("name = ")
