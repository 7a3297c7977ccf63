from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from penjing.engine.stops import TextStream

Decode = Callable[[list[int]], str]
STOPS = st.lists(st.text("ab\n你\ufffd", min_size=1, max_size=4), max_size=4).map(tuple)


def _byte_decode(vocabulary: list[bytes]) -> Decode:
    return lambda ids: b"".join(vocabulary[i] for i in ids).decode("utf-8", "replace")


def _stream(decode: Decode, stops: tuple[str, ...], ids: list[int]) -> tuple[str, str | None]:
    stream = TextStream(decode, stops)
    shown = ""
    for token in ids:
        shown += stream.push(token)
        if stream.stopped is not None:
            break
    return shown + stream.finish(), stream.stopped


def _cut(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """What is left when reading character by character up to the first stop string complete."""
    for end in range(len(text) + 1):
        done = [s for s in stops if text[:end].endswith(s)]
        if done:
            longest = max(done, key=len)
            return text[: end - len(longest)], longest
    return text, None


BYTES = [bytes([i]) for i in range(256)]
FEW = [b"a", b"b", b"\n", b"ab", b"a\xe4", b"\xe4", b"\xbd", b"\xa0", b"\xbd\xa0", b"\xa0\xe4\xbd"]
FEW += [b"\xf0\x9f", b"\x98", b"\x80", b"\xef\xbf\xbd", "你好".encode(), b"\xff"]

# The printable letters that byte-level vocabularies write for bytes.
PLAIN = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [b for b in range(256) if b not in PLAIN]
BYTE_LETTERS = {chr(b): b for b in PLAIN} | {chr(256 + i): b for i, b in enumerate(OTHERS)}


@given(st.lists(st.integers(0, 255), max_size=60), STOPS)
@example([0x80] * 60, ())
@example([0xF0, 0x9F, 0x98] * 20, ())
@example([0xE4, 0xBD, 0xA0] * 20, ("你你你你你",))
def test_pieces_are_the_text_up_to_the_stop(ids: list[int], stops: tuple[str, ...]) -> None:
    decode = _byte_decode(BYTES)
    assert _stream(decode, stops, ids) == _cut(decode(ids), stops)


@given(st.lists(st.integers(0, len(FEW) - 1), max_size=80), STOPS)
@example([9] * 80, ())
@example([5, 9, 9, 9, 6, 7] * 12, ())
def test_ids_may_begin_and_end_inside_characters(ids: list[int], stops: tuple[str, ...]) -> None:
    decode = _byte_decode(FEW)
    assert _stream(decode, stops, ids) == _cut(decode(ids), stops)


@given(st.text("ab你é🙂\n ", max_size=40), STOPS)
def test_a_byte_level_tokenizer_streams(text: str, stops: tuple[str, ...]) -> None:
    tokenizer = Tokenizer(models.BPE(vocab=BYTE_LETTERS, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    ids = list(text.encode())
    assert tokenizer.decode(ids) == text
    assert _stream(tokenizer.decode, stops, ids) == _cut(text, stops)


def _sentencepiece() -> Tokenizer:
    pieces = ["<s>", "▁", "▁a", "a", "b", "▁ab", "\n", *(f"<0x{b:02X}>" for b in range(256))]
    tokenizer = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[]))
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


@given(
    st.lists(st.one_of(st.integers(0, 6), st.sampled_from("你é🙂\n")), max_size=50),
    STOPS,
)
@example(["🙂"] * 12 + [1, 2, 0, 3] * 6 + ["你"] * 9, ())
@example([1, 2, *[0] * 20, 2, 1, 1, 4], ())
@example([3] * 8 + ["é"] + ["\n"] * 6 + ["🙂"] + [3] * 9, ())
def test_a_tokenizer_that_drops_the_first_space_streams(
    words: list[int | str], stops: tuple[str, ...]
) -> None:
    tokenizer = _sentencepiece()
    ids: list[int] = []
    for word in words:  # a letter outside the vocabulary is one id a byte
        ids += [word] if isinstance(word, int) else [7 + b for b in word.encode()]
    assert _stream(tokenizer.decode, stops, ids) == _cut(tokenizer.decode(ids), stops)


def test_bytes_that_turn_bad_do_not_take_back_good_characters() -> None:
    tokenizer = _sentencepiece()
    ids = [7 + b for b in "你".encode() + b"\x80" * 12] + [3]
    assert tokenizer.decode(ids) == "\ufffd" * 15 + "a"
    text, _ = _stream(tokenizer.decode, (), ids)
    assert text[0] == "你"
    assert text[-1] == "a"
    assert set(text[1:-1]) == {"\ufffd"}


def test_text_is_shown_as_soon_as_it_is_certain() -> None:
    stream = TextStream(_byte_decode(BYTES), ("</s>", "<b>"))
    shown = [stream.push(b) for b in "a你<x</sb</s>".encode()]
    assert shown == ["a", "", "", "你", "", "<x", "", "", "", "</sb", "", "", "", ""]
    assert stream.stopped == "</s>"
    assert stream.finish() == ""
    with pytest.raises(AssertionError):
        stream.push(0)


def test_what_is_held_back_comes_at_the_end() -> None:
    stream = TextStream(_byte_decode(BYTES), ("stop",))
    assert "".join(stream.push(b) for b in b"a sto\xe4\xbd") == "a "
    assert stream.finish() == "sto\ufffd"
    assert stream.stopped is None
    stream = TextStream(_byte_decode(BYTES), ("o\ufffd",))
    assert "".join(stream.push(b) for b in b"sto\xe4\xbd") == "st"
    assert stream.finish() == ""
    assert stream.stopped == "o\ufffd"


@pytest.mark.parametrize(
    ("stops", "text", "left", "stopped"),
    [
        (("abcd", "b"), "xabcd", "xa", "b"),  # complete first, though it begins later
        (("bc", "abc"), "xabcd", "x", "abc"),  # end together: the longest
        (("aab",), "aaab", "a", "aab"),
        (("a", "aa"), "baa", "b", "a"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_cut_does_not_depend_on_how_ids_split_the_text(
    stops: tuple[str, ...], text: str, left: str, stopped: str, size: int
) -> None:
    pieces = [text[i : i + size].encode() for i in range(0, len(text), size)]
    assert _stream(_byte_decode(pieces), stops, list(range(len(pieces)))) == (left, stopped)


@pytest.mark.parametrize(
    "vocabulary",
    [[b"word "], [b"\x80"], [b""], [b"\xe4", b"\xbd", b"\xa0"], [b"\xa0\xe4\xbd"]],
)
def test_the_cost_is_linear(vocabulary: list[bytes]) -> None:
    decode = _byte_decode(vocabulary)
    decoded = 0

    def counting(ids: list[int]) -> str:
        nonlocal decoded
        decoded += len(ids)
        return decode(ids)

    ids = list(range(len(vocabulary))) * (3000 // len(vocabulary))
    assert _stream(counting, ("never",), ids)[0] == decode(ids)
    assert decoded < 70 * len(ids)
