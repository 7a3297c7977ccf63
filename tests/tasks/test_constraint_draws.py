"""Whatever is drawn can be kept: a small builder keeps it."""

import json
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.tasks import instruction
from penjing.tasks.constraint_draws import MADE, MAX_CONSTRAINTS, draw
from penjing.tasks.constraints import KINDS, Constraint, constraint
from penjing.tasks.problem import Problem, Split

# None of the words that a prompt forbids or counts.
_TEXT = (
    "slow boats drift past green hills while small birds call from tall trees and soft wind moves "
    "over fields where farmers carry baskets full with apples toward town as evening light fades "
    "behind distant clouds until every street lamp burns near open doors"
)
_FILL = _TEXT.split()


def witness(constraints: list[Constraint]) -> str:
    """A text that keeps constraints that go together, made piece by piece."""
    asked: dict[str, Any] = {c.kind.partition(":")[2]: c.arguments for c in constraints}
    pieces = _sentences(asked)
    pieces[0] = f"{_extras(asked)} {pieces[0]}"
    if word := asked.get("nth_paragraph_first_word"):
        chunks = _chunks(pieces, word["num_paragraphs"])
        place = word["nth_paragraph"] - 1
        chunks[place] = f"{word['first_word']} {chunks[place]}"
        separator = "\n\n"
    elif sections := asked.get("multiple_sections"):
        chunks = _chunks(pieces, sections["num_sections"])
        name = sections["section_spliter"]
        chunks = [f"{name} {i}\n{chunk}" for i, chunk in enumerate(chunks, 1)]
        separator = "\n"
    elif "two_responses" in asked:
        chunks, separator = _chunks(pieces, 2), "\n******\n"
    else:
        number = asked.get("number_paragraphs", {}).get("num_paragraphs", 1)
        chunks, separator = _chunks(pieces, number), "\n***\n"
    chunks[0] += "\n<<slow boats>>" if "title" in asked else ""
    chunks[0] += "\n- apples" * asked.get("number_bullet_lists", {}).get("num_bullets", 0)
    if after := asked.get("postscript"):
        chunks[-1] += f"\n{after['postscript_marker']} boats drift"
    return _framed(separator.join(chunks), asked)


def _sentences(asked: dict[str, Any]) -> list[str]:
    count, length = 8, 8
    sentences, total = asked.get("number_sentences"), asked.get("number_words")
    if sentences:
        count = sentences["num_sentences"] if sentences["relation"] == "at least" else 5
    if total:
        is_least = total["relation"] == "at least"
        length = total["num_words"] // count + 1 if is_least else 80 // count
    fill = [_FILL[i % len(_FILL)] for i in range(count * length)]
    return [" ".join(fill[i * length : (i + 1) * length]) + "." for i in range(count)]


def _extras(asked: dict[str, Any]) -> str:
    extras = list(asked.get("existence", {}).get("keywords", ()))
    if often := asked.get("frequency"):
        extras += [often["keyword"]] * often["frequency"]
    if letter := asked.get("letter_frequency"):
        extras.append(letter["letter"] * letter["let_frequency"])
    extras += ["[place]"] * asked.get("number_placeholders", {}).get("num_placeholders", 0)
    highlights = asked.get("number_highlighted_sections", {}).get("num_highlights", 0)
    capitals = asked.get("capital_word_frequency", {}).get("capital_frequency", 0)
    return " ".join(["so", *extras, *["*warm light*"] * highlights, *["GREEN", "HILLS"] * capitals])


def _chunks(pieces: list[str], number: int) -> list[str]:
    return [" ".join(pieces[i::number]) for i in range(number)]


def _framed(text: str, asked: dict[str, Any]) -> str:
    if start := asked.get("start_checker"):
        text = f"{start['start_phrase']} {text}"
    if repeated := asked.get("repeat_prompt"):
        text = f"{repeated['prompt_to_repeat']}\n{text}"
    if end := asked.get("end_checker"):
        text = f"{text}\n{end['end_phrase']}"
    text = f'"{text}"' if "quotation" in asked else text
    text = json.dumps({"text": text}) if "json_format" in asked else text
    text = text.upper() if "english_capital" in asked else text
    return text.lower() if "english_lowercase" in asked else text


@settings(max_examples=300)
@given(st.integers(0, 2**63 - 1))
def test_every_draw_can_be_kept(number: int) -> None:
    drawn = instruction.draw(number)
    constraints = [Constraint(**known) for known in drawn.metadata["constraints"]]
    text = witness(constraints)
    assert [c.kind for c in constraints if not c.holds(text)] == []
    problem = Problem(
        id="1", prompt=drawn.prompt, reference="", split=Split.TRAIN, metadata=drawn.metadata
    )
    assert instruction.judge(problem, text).is_correct


@given(st.integers(0, 2**63 - 1))
def test_every_draw_is_the_same_again_and_well_formed(number: int) -> None:
    prompt, constraints = draw(Random(number))
    assert (prompt, constraints) == draw(Random(number))
    assert 1 <= len(constraints) <= MAX_CONSTRAINTS
    assert len({c.kind for c in constraints}) == len(constraints)
    for one in constraints:
        assert constraint(one.kind, one.arguments) == one
        for value in one.arguments.values():
            for text in value if isinstance(value, list) else [value]:
                assert str(text) in prompt, "a reader can know it"


def test_every_kind_is_drawn() -> None:
    kinds = Counter(c.kind for seed in range(800) for c in draw(Random(seed))[1])
    assert kinds.keys() == MADE.keys() == KINDS.keys() - {"detectable_format:constrained_response"}
    assert len(MADE) >= 20
    assert min(kinds.values()) > 10


@pytest.mark.parametrize("place", range(3))
def test_the_builder_can_fail(place: int) -> None:
    """What is left out of it is missed."""
    number, constraints = next(
        (seed, found) for seed in range(99) if len(found := draw(Random(seed))[1]) == 3
    )
    text = witness([c for i, c in enumerate(constraints) if i != place])
    assert not all(c.holds(text) for c in constraints), number
