"""Requests with one to three constraints that can all be kept at once.

Two kinds go together if they claim nothing in common: how the text begins or ends, its letters'
case, its layout. Bounds are loose enough that the rest fits in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from penjing.tasks.constraints import Arguments, Constraint

MAX_CONSTRAINTS = 3

_FORMS = (
    "a short essay",
    "a letter to a friend",
    "a short story",
    "a news report",
    "a blog post",
    "a speech",
    "an advertisement",
    "a page of a diary",
    "a review",
    "an encyclopedia entry",
)
_TOPICS = (
    "a night train",
    "the first day at a new job",
    "bicycles in the city",
    "a lost dog",
    "how bread is made",
    "an old lighthouse",
    "learning to swim",
    "the invention of the clock",
    "a village festival",
    "moving to another country",
    "bees and what they do",
    "a visit to the dentist",
    "the history of chess",
    "a storm at sea",
    "cooking for ten guests",
    "a broken elevator",
    "growing tomatoes on a balcony",
    "a public library",
    "the smell of rain",
    "repairing an old radio",
    "a long walk in the mountains",
    "teaching a child to read",
    "the sounds of a harbor",
    "a small theater",
    "why the sky is blue",
    "a football match",
    "collecting stamps",
    "the life of a baker",
    "a town without cars",
    "crossing a desert",
)
_KEYWORDS = ("lantern", "copper", "window", "winter", "paper", "bridge", "silver", "morning")
_REPEATED = ("yellow", "quiet", "garden", "stone")
_FORBIDDEN = ("very", "really", "great", "thing", "always", "never", "because", "important")
_FIRST_WORDS = ("yesterday", "meanwhile", "perhaps", "eventually", "outside")
_STARTS = ("Let me begin with this", "To be honest", "Once upon a time", "Here is what I know")
_ENDS = ("That is all there is to say.", "Thank you for reading.", "And so it goes.", "The end.")
_SPLITTERS = ("Section", "Part", "Chapter")
_LETTERS = "bgkpvw"
_AT_LEAST, _LESS = "at least", "less than"


@dataclass(frozen=True, kw_only=True)
class _Made:
    """``ask`` puts the arguments into words; they are drawn given the request."""

    claims: frozenset[str]
    draw: Callable[[Random, str], Arguments]
    ask: Callable[[Arguments], str]


def draw(random: Random) -> tuple[str, Sequence[Constraint]]:
    """The whole prompt, and what it asks for."""
    request = f"Write {random.choice(_FORMS)} about {random.choice(_TOPICS)}."
    sentences = [request]
    constraints: list[Constraint] = []
    claimed: set[str] = set()
    wanted = random.randint(1, MAX_CONSTRAINTS)
    for kind in random.sample(sorted(MADE), k=len(MADE)):
        made = MADE[kind]
        if len(constraints) < wanted and not claimed & made.claims:
            arguments = made.draw(random, request)
            claimed |= made.claims
            sentences.append(made.ask(arguments))
            constraints.append(Constraint(kind=kind, arguments=arguments))
    return " ".join(sentences), constraints


def _made(
    claims: str,
    ask: Callable[[Arguments], str] | str,
    **arguments: Callable[[Random], object] | object,
) -> _Made:
    """Arguments are values, or drawn; a text to ask with is filled in with them."""

    def drawn(random: Random, request: str) -> Arguments:
        return {n: a(random) if callable(a) else a for n, a in arguments.items()}

    asked = ask if callable(ask) else ask.format_map
    return _Made(claims=frozenset(claims.split()), draw=drawn, ask=asked)


def _between(least: int, most: int, step: int = 1) -> Callable[[Random], int]:
    return lambda random: random.randrange(least, most + 1, step)


def _one_of(choices: Sequence[str]) -> Callable[[Random], str]:
    return lambda random: random.choice(choices)


def _some_of(choices: Sequence[str], least: int, most: int) -> Callable[[Random], list[str]]:
    return lambda random: sorted(random.sample(choices, k=random.randint(least, most)))


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _with(name: str, sentence: str) -> Callable[[Arguments], str]:
    return lambda found: sentence.format(_quoted(found[name]))


_REPEATING = _Made(
    claims=frozenset({"start", "layout"}),
    draw=lambda random, request: {"prompt_to_repeat": request},
    ask=lambda found: (
        f'First repeat "{found["prompt_to_repeat"]}" word for word and without the quotation '
        "marks, then give your answer; say nothing before it."
    ),
)

MADE: Mapping[str, _Made] = {
    "keywords:existence": _made(
        "existence",
        _with("keywords", "Include the words {}."),
        keywords=_some_of(_KEYWORDS, 1, 3),
    ),
    "keywords:frequency": _made(
        "frequency",
        'The word "{keyword}" must appear {relation} {frequency} times.',
        keyword=_one_of(_REPEATED),
        relation=_AT_LEAST,
        frequency=_between(2, 4),
    ),
    "keywords:forbidden_words": _made(
        "forbidden",
        _with("forbidden_words", "Do not use any of the words {}."),
        forbidden_words=_some_of(_FORBIDDEN, 2, 4),
    ),
    "keywords:letter_frequency": _made(
        "letter",
        'The letter "{letter}" must appear {let_relation} {let_frequency} times.',
        letter=_one_of(_LETTERS),
        let_relation=_AT_LEAST,
        let_frequency=_between(5, 15),
    ),
    "length_constraints:number_sentences": _made(
        "sentences",
        "Use {relation} {num_sentences} sentences.",
        num_sentences=_between(10, 15),
        relation=_one_of((_AT_LEAST, _LESS)),
    ),
    "length_constraints:number_words": _made(
        "words",
        "Use {relation} {num_words} words.",
        num_words=_between(150, 200, 10),
        relation=_one_of((_AT_LEAST, _LESS)),
    ),
    "length_constraints:number_paragraphs": _made(
        "layout",
        "Write exactly {num_paragraphs} paragraphs, separated by a line of three stars: ***",
        num_paragraphs=_between(2, 4),
    ),
    "length_constraints:nth_paragraph_first_word": _made(
        "layout",
        "Write exactly {num_paragraphs} paragraphs with an empty line between any two; paragraph "
        '{nth_paragraph} must begin with the word "{first_word}".',
        num_paragraphs=_between(3, 4),
        nth_paragraph=_between(2, 3),
        first_word=_one_of(_FIRST_WORDS),
    ),
    "detectable_content:number_placeholders": _made(
        "placeholders",
        "Leave at least {num_placeholders} placeholders in square brackets, such as [address].",
        num_placeholders=_between(1, 3),
    ),
    "detectable_content:postscript": _made(
        "postscript",
        'Add a postscript that begins with "{postscript_marker}"',
        postscript_marker=_one_of(("P.S.", "P.P.S.")),
    ),
    "detectable_format:number_bullet_lists": _made(
        "bullets",
        'Include exactly {num_bullets} bullet points, each on a line that begins with "- ".',
        num_bullets=_between(2, 5),
    ),
    "detectable_format:number_highlighted_sections": _made(
        "highlights",
        "Highlight at least {num_highlights} phrases with stars, *like this*.",
        num_highlights=_between(1, 3),
    ),
    "detectable_format:multiple_sections": _made(
        "layout case",
        'Divide it into {num_sections} sections, each under a line with "{section_spliter}" and '
        'its number, such as "{section_spliter} 1".',
        section_spliter=_one_of(_SPLITTERS),
        num_sections=_between(2, 3),
    ),
    "detectable_format:json_format": _made(
        "start end layout bullets postscript highlights title placeholders comma",
        "Give the whole answer as one JSON object and nothing else.",
    ),
    "detectable_format:title": _made(
        "title", "Give it a title in double angular brackets, such as <<my title>>."
    ),
    "combination:two_responses": _made(
        "start end layout postscript",
        "Give two different answers, separated by a line of six stars: ******",
    ),
    "combination:repeat_prompt": _REPEATING,
    "startend:end_checker": _made(
        "end",
        'End with exactly this sentence and nothing behind it: "{end_phrase}"',
        end_phrase=_one_of(_ENDS),
    ),
    "startend:start_checker": _made(
        "start", 'Begin with the words "{start_phrase}".', start_phrase=_one_of(_STARTS)
    ),
    "startend:quotation": _made(
        "start end", "Put the whole answer between double quotation marks."
    ),
    "change_case:capital_word_frequency": _made(
        "case",
        "Write {capital_relation} {capital_frequency} words in capital letters only.",
        capital_relation=_AT_LEAST,
        capital_frequency=_between(3, 8),
    ),
    "change_case:english_capital": _made("case", "Write in capital letters only."),
    "change_case:english_lowercase": _made("case", "Write in small letters only."),
    "punctuation:no_comma": _made("comma", "Do not use any commas."),
}
