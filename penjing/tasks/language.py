"""How much of a text is in one language, told by script.

DeepSeek-R1 adds to its reward "the proportion of target language words in the CoT" (arXiv
2501.12948, 2.3.2). A word is a run of letters; in scripts that leave no spaces each character is
one. Languages of the same script are not told apart: French counts as English.
"""

import re
from enum import StrEnum


class Language(StrEnum):
    ENGLISH = "en"
    CHINESE = "zh"
    JAPANESE = "ja"
    KOREAN = "ko"
    RUSSIAN = "ru"


# Blocks of Unicode 15.
_HAN = "\u2e80-\u2fdf\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_KANA = "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_SCRIPT = {
    Language.ENGLISH: "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
    Language.CHINESE: _HAN,
    Language.JAPANESE: _HAN + _KANA,
    Language.KOREAN: "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    Language.RUSSIAN: "\u0400-\u052f",
}
_UNSPACED = re.compile(f"[{_HAN}{_KANA}]")
_SPACED = f"[^\\W\\d_{_HAN}{_KANA}]+"
_WORD = re.compile(f"{_UNSPACED.pattern}|{_SPACED}(?:['\u2019]{_SPACED})*")

# In these, Latin words are names: of functions, variables, keywords. Each ends at the next mark of
# its own kind and gives nothing back, so that a search is never quadratic; the bounds keep prose
# from hiding in there.
_NAMES = re.compile(
    r"```[^`]{1,4000}+```|`[^`\n]{1,200}+`|\$\$[^$]{1,2000}+\$\$|\$[^$\n]{1,300}+\$"
    r"|\\\((?:[^\\\n]|\\[^()\n]){1,300}+\\\)|\\\[(?:[^\\]|\\[^][]){1,2000}+\\\]"
    r"|\\[A-Za-z]{1,40}|https?://[!-~]{1,2000}"
)
_LATIN = re.compile("[A-Za-z]+")
_SYMBOL = re.compile("[A-Z]{2,4}")  # such as the triangle ABC


def language_share(text: str, language: Language) -> float:
    """Between 0 and 1; 0 for a text without words, as else silence would pay.

    Numbers, single letters and short runs of capitals are in no language. Nor are Latin words
    within formulas and code, while words of other scripts count there too.
    """
    words = [w for w in _WORD.findall(_NAMES.sub(_without_latin, text)) if not _is_symbol(w)]
    if not words:
        return 0.0
    is_target = re.compile(f"[{_SCRIPT[language]}'\u2019]+").fullmatch
    return sum(is_target(word) is not None for word in words) / len(words)


def _without_latin(found: re.Match[str]) -> str:
    return _LATIN.sub(" ", found[0])


def _is_symbol(word: str) -> bool:
    if len(word) == 1:
        return _UNSPACED.match(word) is None
    return _SYMBOL.fullmatch(word) is not None
