"""Constraints on a text that a program can check, by the names of Google's IFEval.

The rules are those of its ``instructions.py`` (Apache-2.0, arXiv 2311.07911), the strict ones, but
for two: sentences are counted by their ends, not by a trained splitter, and capitals are not asked
to be English. Every check is linear in the length of the text.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Arguments = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """One of ``KINDS`` with its arguments."""

    kind: str
    arguments: Arguments

    def holds(self, text: str) -> bool:
        """``text`` is without white space at its ends."""
        return KINDS[self.kind].check(text, self.arguments)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``arguments``: those it needs, with the type of each."""

    arguments: Mapping[str, type]
    check: Callable[[str, Arguments], bool]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def count_sentences(text: str) -> int:
    """Words that end in a full stop, question or exclamation mark; the last word ends one too."""
    ends = [word.rstrip("\"')]*").endswith((".", "!", "?")) for word in text.split()]
    return sum(ends) + (bool(ends) and not ends[-1])


def paragraphs(text: str) -> list[str] | None:
    """Between lines of three stars; those at the ends may be empty. None: one within is."""
    return _parts(text, re.split(r"\s?\*\*\*\s?", text))


def _parts(text: str, parts: Sequence[str]) -> list[str] | None:
    stripped = [part.strip() for part in parts]
    if any(not part for part in stripped[1:-1]):
        return None
    return [part for part in stripped if part]


def _compare(count: int, relation: str, bound: int) -> bool:
    """IFEval knows two relations."""
    return count >= bound if relation == "at least" else count < bound


def _has_keywords(text: str, wanted: Arguments) -> bool:
    """Also within other words, as in IFEval."""
    return all(word.lower() in text.lower() for word in wanted["keywords"])


def _has_keyword_often(text: str, wanted: Arguments) -> bool:
    count = text.lower().count(wanted["keyword"].lower())
    return _compare(count, wanted["relation"], wanted["frequency"])


def _has_none_of(text: str, wanted: Arguments) -> bool:
    alternatives = "|".join(re.escape(word) for word in wanted["forbidden_words"])
    return not re.search(rf"\b(?:{alternatives})\b", text, re.IGNORECASE)


def _has_letter_often(text: str, wanted: Arguments) -> bool:
    count = text.lower().count(wanted["letter"].lower())
    return _compare(count, wanted["let_relation"], wanted["let_frequency"])


def _has_sentences(text: str, wanted: Arguments) -> bool:
    return _compare(count_sentences(text), wanted["relation"], wanted["num_sentences"])


def _has_words(text: str, wanted: Arguments) -> bool:
    return _compare(len(words(text)), wanted["relation"], wanted["num_words"])


def _has_paragraphs(text: str, wanted: Arguments) -> bool:
    found = paragraphs(text)
    return found is not None and bool(len(found) == wanted["num_paragraphs"])


def _has_first_word(text: str, wanted: Arguments) -> bool:
    """Paragraphs here are what stands between empty lines."""
    found = [part.strip() for part in text.split("\n\n") if part.strip()]
    nth = wanted["nth_paragraph"]
    if len(found) != wanted["num_paragraphs"] or not 1 <= nth <= len(found):
        return False
    first = found[nth - 1].split()[0].lstrip("\"'")
    return bool(re.split("[.,?!'\"]", first)[0].lower() == wanted["first_word"].lower())


def _has_placeholders(text: str, wanted: Arguments) -> bool:
    return bool(len(re.findall(r"\[[^\[\]\n]+\]", text)) >= wanted["num_placeholders"])


def _has_postscript(text: str, wanted: Arguments) -> bool:
    """Something must follow it."""
    marker = wanted["postscript_marker"].strip()
    gaps = r"\s?".join(re.escape(part) for part in re.findall(r"\w+\.?", marker))
    return bool(re.search(rf"(?<![\w.]){gaps}\.?:?[ \t]*\w", text, re.IGNORECASE))


def _has_bullets(text: str, wanted: Arguments) -> bool:
    bullets = re.findall(r"^[ \t]*(?:\*[^*\n]|-).*$", text, re.MULTILINE)
    return bool(len(bullets) == wanted["num_bullets"])


def _is_one_of_three(text: str, _: Arguments) -> bool:
    return text in ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _has_highlights(text: str, wanted: Arguments) -> bool:
    """``*so*`` or ``**so**``."""
    found = re.findall(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*", text)
    return bool(sum(bool((a or b).strip()) for a, b in found) >= wanted["num_highlights"])


def _has_sections(text: str, wanted: Arguments) -> bool:
    """Headings with a number, with something under each."""
    splitter = re.escape(wanted["section_spliter"].strip())
    _, *sections = re.split(rf"\b{splitter} ?[0-9]+", text)
    filled = [section for section in sections if words(section)]
    return bool(len(filled) == len(sections) >= wanted["num_sections"])


def _is_json(text: str, _: Arguments) -> bool:
    """Maybe in a fence."""
    for opening in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(opening)
    try:
        return isinstance(json.loads(text.removesuffix("```").strip()), dict | list)
    except (ValueError, RecursionError):
        return False


def _has_title(text: str, _: Arguments) -> bool:
    return any(title.strip("<> ") for title in _titles(text))


def _titles(text: str) -> Iterator[str]:
    for line in text.splitlines():
        begin, end = line.find("<<"), line.rfind(">>")
        if 0 <= begin < end:
            yield line[begin + 2 : end]


def _has_two_responses(text: str, _: Arguments) -> bool:
    found = _parts(text, text.split("******"))
    return found is not None and len(found) == 2 and found[0] != found[1]


def _repeats(text: str, wanted: Arguments) -> bool:
    """And then goes on."""
    repeated = wanted["prompt_to_repeat"].strip().lower()
    return text.lower().startswith(repeated) and bool(words(text[len(repeated) :]))


def _ends_with(text: str, wanted: Arguments) -> bool:
    return text.strip('"').strip().lower().endswith(wanted["end_phrase"].strip().lower())


def _starts_with(text: str, wanted: Arguments) -> bool:
    return text.lower().startswith(wanted["start_phrase"].strip().lower())


def _is_quoted(text: str, _: Arguments) -> bool:
    return len(text) > 1 and text[0] == text[-1] == '"'


def _has_capital_words(text: str, wanted: Arguments) -> bool:
    count = sum(word.isupper() for word in words(text))
    return _compare(count, wanted["capital_relation"], wanted["capital_frequency"])


def _is_upper(text: str, _: Arguments) -> bool:
    return text.isupper()


def _is_lower(text: str, _: Arguments) -> bool:
    return text.islower()


def _has_no_comma(text: str, _: Arguments) -> bool:
    return "," not in text


def _kind(check: Callable[[str, Arguments], bool], **arguments: type) -> Kind:
    return Kind(arguments=arguments, check=check)


KINDS: Mapping[str, Kind] = {
    "keywords:existence": _kind(_has_keywords, keywords=list),
    "keywords:frequency": _kind(_has_keyword_often, keyword=str, frequency=int, relation=str),
    "keywords:forbidden_words": _kind(_has_none_of, forbidden_words=list),
    "keywords:letter_frequency": _kind(
        _has_letter_often, letter=str, let_frequency=int, let_relation=str
    ),
    "length_constraints:number_sentences": _kind(_has_sentences, num_sentences=int, relation=str),
    "length_constraints:number_paragraphs": _kind(_has_paragraphs, num_paragraphs=int),
    "length_constraints:number_words": _kind(_has_words, num_words=int, relation=str),
    "length_constraints:nth_paragraph_first_word": _kind(
        _has_first_word, num_paragraphs=int, nth_paragraph=int, first_word=str
    ),
    "detectable_content:number_placeholders": _kind(_has_placeholders, num_placeholders=int),
    "detectable_content:postscript": _kind(_has_postscript, postscript_marker=str),
    "detectable_format:number_bullet_lists": _kind(_has_bullets, num_bullets=int),
    "detectable_format:constrained_response": _kind(_is_one_of_three),
    "detectable_format:number_highlighted_sections": _kind(_has_highlights, num_highlights=int),
    "detectable_format:multiple_sections": _kind(
        _has_sections, section_spliter=str, num_sections=int
    ),
    "detectable_format:json_format": _kind(_is_json),
    "detectable_format:title": _kind(_has_title),
    "combination:two_responses": _kind(_has_two_responses),
    "combination:repeat_prompt": _kind(_repeats, prompt_to_repeat=str),
    "startend:end_checker": _kind(_ends_with, end_phrase=str),
    "startend:start_checker": _kind(_starts_with, start_phrase=str),  # ours
    "startend:quotation": _kind(_is_quoted),
    "change_case:capital_word_frequency": _kind(
        _has_capital_words, capital_relation=str, capital_frequency=int
    ),
    "change_case:english_capital": _kind(_is_upper),
    "change_case:english_lowercase": _kind(_is_lower),
    "punctuation:no_comma": _kind(_has_no_comma),
}
_RELATIONS = ("at least", "less than")


def constraint(kind: str, arguments: Arguments) -> Constraint:
    """Of what a file says: null is left out, and 3.0 is 3. Raises ``ValueError``."""
    found: dict[str, Any] = {}
    for name, wanted in KINDS[kind].arguments.items():
        value = arguments.get(name)
        if wanted is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, wanted) or isinstance(value, bool) or not _is_sane(name, value):
            raise ValueError(f"{kind} has {name} {value!r:.60}; it must be {_wanted(name, wanted)}")
        found[name] = value
    return Constraint(kind=kind, arguments=found)


def _is_sane(name: str, value: Any) -> bool:
    if name.endswith("relation"):
        return value in _RELATIONS
    if isinstance(value, list):
        return bool(value) and all(isinstance(word, str) and word.strip() for word in value)
    return value.strip() != "" if isinstance(value, str) else value >= 0


def _wanted(name: str, wanted: type) -> str:
    if name.endswith("relation"):
        return " or ".join(map(repr, _RELATIONS))
    return {int: "a whole number", str: "a text", list: "a list of texts"}[wanted]


def overlap(text: str, other: str, size: int = 4) -> float:
    """The share of a text's runs of ``size`` words that also stand in the other."""
    found, known = (
        list(zip(*(found[i:] for i in range(size)), strict=False))
        for found in (words(text.lower()), words(other.lower()))
    )
    seen = set(known)
    return sum(run in seen for run in found) / len(found) if found else 0.0
