from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadFile
from penjing.models.generation_config import GenerationDefaults

Write = Callable[..., Path]

# As R1's file has it, with keys of other software.
R1 = {
    "_from_model_config": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "do_sample": True,
    "temperature": 0.6,
    "top_p": 0.95,
    "cache_implementation": {"any": "thing"},
    "transformers_version": "4.46.3",
}


def load(write: Write, generation: object, config: object = None, **given: Any) -> Any:
    files = {"generation_config.json": generation, "config.json": config}
    folder = write({name: raw for name, raw in files.items() if raw is not None})
    return GenerationDefaults.load(folder, **given)


def test_what_the_publisher_of_r1_says(write_checkpoint: Write) -> None:
    assert load(write_checkpoint, R1) == GenerationDefaults(
        eos_ids=(1,), do_sample=True, temperature=0.6, top_p=0.95
    )


def test_every_setting_is_read(write_checkpoint: Write) -> None:
    raw = {
        "do_sample": False,
        "temperature": 0,
        "top_p": 1,
        "top_k": 20,
        "min_p": 0.0,
        "repetition_penalty": 1.05,
        "max_new_tokens": 2048,
    }
    assert load(write_checkpoint, raw) == GenerationDefaults(
        do_sample=False,
        temperature=0.0,
        top_p=1.0,
        top_k=20,
        min_p=0.0,
        repetition_penalty=1.05,
        max_new_tokens=2048,
    )
    assert load(write_checkpoint, {"top_k": -1}).top_k == 0


def test_nothing_said_is_none(write_checkpoint: Write) -> None:
    assert load(write_checkpoint, None) == GenerationDefaults()
    assert load(write_checkpoint, dict.fromkeys(R1)) == GenerationDefaults()


@pytest.mark.parametrize(
    ("generation", "config", "own", "ids"),
    [
        ({"eos_token_id": [5, 6, 5]}, {"eos_token_id": 7}, 8, (5, 6)),
        ({}, {"eos_token_id": 7}, 8, (7,)),
        (None, {"eos_token_id": [7, 9]}, 8, (7, 9)),
        ({"eos_token_id": []}, {"eos_token_id": None}, 8, (8,)),
        ({}, None, 0, (0,)),
        (None, None, None, ()),
    ],
)
def test_the_first_that_names_an_end_counts(
    write_checkpoint: Write,
    generation: object,
    config: object,
    own: int | None,
    ids: tuple[int, ...],
) -> None:
    assert load(write_checkpoint, generation, config, tokenizer_eos=own).eos_ids == ids


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("eos_token_id", "1"),
        ("eos_token_id", -1),
        ("eos_token_id", True),
        ("eos_token_id", [1, None]),
        ("do_sample", 1),
        ("temperature", "0.6"),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", 10**400),
        ("temperature", False),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_k", 2.0),
        ("top_k", -2),
        ("min_p", 1.5),
        ("repetition_penalty", 0.0),
        ("max_new_tokens", 0),
        ("max_new_tokens", 10**12),
    ],
)
def test_what_cannot_be_meant_is_refused(write_checkpoint: Write, key: str, value: object) -> None:
    with pytest.raises(BadFile, match=rf"{key} in .*generation_config.json is .*; it must be"):
        load(write_checkpoint, {**R1, key: value})


def test_an_end_in_the_config_is_checked_alike(write_checkpoint: Write) -> None:
    with pytest.raises(BadFile, match=r"eos_token_id in .*[^_]config.json is '1'"):
        load(write_checkpoint, {}, {"eos_token_id": "1"})
    with pytest.raises(BadFile, match="holds a list"):
        load(write_checkpoint, [])


_JSON = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
)


def test_no_value_passes_that_sampling_could_not_take(write_checkpoint: Write) -> None:
    @given(st.sampled_from(["temperature", "top_p", "top_k", "repetition_penalty"]), _JSON)
    def holds(key: str, value: object) -> None:
        try:
            found = getattr(load(write_checkpoint, {key: value}), key)
        except BadFile:
            return
        assert found is None or 0 <= found <= 1e9

    holds()
