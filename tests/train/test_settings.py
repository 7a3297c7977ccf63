"""Keys set from outside: where they land, what the text says then, and what is refused."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadCommand, UnknownName
from penjing.train.settings import apply_settings, with_settings

TEXT = """
name = "mine"
[tasks.sums]
name = "reasoning_gym/chain_sum"
[models.tiny]
tokenizer = "quickstart"
config = { hidden_size = 4 }
[[stages]]
name = "zero"
kind = "reinforce"
preset = "r1_paper"
[[stages]]
name = "sft"
kind = "sft"
epochs = 3"""


def raw(*asked: str, text: str = TEXT) -> dict[str, Any]:
    found = tomllib.loads(with_settings(text, asked))
    apply_settings(found)
    return found


def test_a_setting_lands_where_its_path_says() -> None:
    found = raw(
        "seed=3",
        "zero.kl=0.5",
        "sft.shape=cosine",
        "sft.epochs=4",
        "zero.until={accuracy = 0.5}",
        "zero.until.every=7",
        "tasks.sums.data=data/my-file.jsonl",
        "models.tiny.config.hidden_size=8",
        "evaluation.problems=5",
    )
    zero, sft = found["stages"]
    assert found["seed"] == 3
    assert (zero["kl"], zero["until"]) == (0.5, {"accuracy": 0.5, "every": 7})
    assert (sft["shape"], sft["epochs"]) == ("cosine", 4)
    assert found["tasks"]["sums"]["data"] == "data/my-file.jsonl"
    assert found["models"]["tiny"]["config"] == {"hidden_size": 8}
    assert found["evaluation"] == {"problems": 5}


def test_the_last_of_two_settings_holds() -> None:
    once = with_settings(TEXT, ["zero.kl=1.0"])
    assert raw("zero.kl=2.0", text=once)["stages"][0]["kl"] == 2.0


def test_a_part_of_a_reward_leaves_the_parts_of_the_preset() -> None:
    found = raw("zero.rewards.language=0.5")
    assert found["stages"][0]["rewards"] == {"accuracy": 1.0, "format": 1.0, "language": 0.5}


def test_a_text_without_settings_is_the_text() -> None:
    assert with_settings(TEXT, []) == TEXT


@given(st.one_of(st.integers(-(2**60), 2**60), st.booleans(), st.floats(-1e9, 1e9)))
def test_numbers_come_back(value: float) -> None:
    found = raw(f"zero.kl={str(value).lower()}")["stages"][0]["kl"]
    assert found == value
    assert type(found) is type(value)


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1))
def test_words_need_no_quotes(text: str) -> None:
    word = f"w{text}"
    expected = {"true": True, "false": False}.get(word, word)
    assert raw(f"tasks.sums.data={word}")["tasks"]["sums"]["data"] == expected


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("zero.kl", "is not KEY=VALUE"),
        ("zero kl=1", "is not KEY=VALUE"),
        ("=1", "is not KEY=VALUE"),
        ("zero.kl=", "'' is no value of TOML"),
        ("zero.kl=1,5", "'1,5' is no value of TOML"),
        ("zero.kl=1\nseed=2", "is no value of TOML"),
        ("models.tiny.config.hidden_size.x=1", "hidden_size is no table but 4"),
    ],
)
def test_what_is_no_setting(asked: str, said: str) -> None:
    with pytest.raises(BadCommand, match=said) as caught:
        raw(asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("zro.kl=1", "unknown stage or key of a recipe 'zro'; nearest: zero"),
        ("zero.lk=1", "unknown key of the stage zero 'lk'"),
        ("zero.learning_rat=1", "nearest: learning_rate"),
        ("sft.kl=1", "unknown key of the stage sft 'kl'"),
        ("zero.name='one'", "unknown key of the stage zero 'name'"),
        ("zero.kind='sft'", "unknown key of the stage zero 'kind'"),
        ("sed=1", "unknown key of a recipe 'sed'; nearest: seed"),
        ("tasks.sum.data='a'", "unknown entry of tasks 'sum'; nearest: sums"),
        ("checkpoints.x.source='a'", "unknown entry of checkpoints 'x'"),
        ("stages=1", "unknown key of a recipe 'stages'"),
    ],
)
def test_names_are_strict(asked: str, said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        raw(asked)
