from collections.abc import Callable, Mapping

import pytest
import torch

from penjing.engine.prompt import Message, Prompt, PromptReader
from penjing.errors import BadFile, BadQuantity, RequestError
from penjing.models.tokenizer import Tokenizer

THINK, CLOSE, EOS, USER = 60, 61, 62, 63


@pytest.fixture
def reader(tokenizer: Tokenizer) -> PromptReader:
    return PromptReader(tokenizer, 64)


def test_text_messages_and_ids(reader: PromptReader) -> None:
    assert reader.ids("abz") == (0, 1, 25)
    assert reader.ids([{"role": "user", "content": "ab"}]) == (USER, 0, 1)
    assert reader.ids([3, 2, 63]) == (3, 2, 63)
    assert reader.ids((0,)) == (0,)


def test_variables_reach_the_template(reader: PromptReader) -> None:
    asked: list[Message] = [{"role": "user", "content": "a"}]
    assert reader.ids(asked, enable_thinking=True) == (USER, 0, THINK)
    assert reader.ids(asked, enable_thinking=False) == (USER, 0)


def test_special_tokens_in_text_count_as_such(reader: PromptReader) -> None:
    assert reader.ids("a<think>b</think><eos>") == (0, THINK, 1, CLOSE, EOS)
    assert USER not in reader.ids("<use r>")


def test_whole_numbers_of_any_kind_are_ids(reader: PromptReader) -> None:
    assert reader.ids(torch.tensor([3, 4]).unbind()) == (3, 4)  # type: ignore[arg-type]


NO_TOKENS = "the prompt has no tokens; give at least one"
KINDS = "give text, a list of messages, or a list of ids"
REFUSED: dict[str, tuple[object, type[RequestError], str]] = {
    "no text": ("", RequestError, NO_TOKENS),
    "no ids": ([], RequestError, NO_TOKENS),
    "below": ([3, -1], BadQuantity, "holds id -1; ids are at least 0 and below 64"),
    "above": ([64], BadQuantity, "holds id 64; .* the size of the vocabulary"),
    "huge": ([2**70], BadQuantity, "holds id 1180591620717411303424"),
    "float": ([1.5], RequestError, f"holds 1.5; {KINDS}"),
    "flag": ([True], RequestError, f"holds True; {KINDS}"),
    "words": (["a"], RequestError, f"holds 'a'; {KINDS}"),
    "number": (7, RequestError, f"a prompt is a int; {KINDS}"),
    "nothing": (None, RequestError, f"a prompt is a NoneType; {KINDS}"),
    "one message": ({"role": "user"}, RequestError, f"a prompt is a dict; {KINDS}"),
    "mixed": ([{"role": "user", "content": "a"}, "b"], RequestError, r"messages\[1\] is a str"),
    "no role": ([{"content": "a"}], RequestError, r"messages\[0\] has no role"),
    "refused": ([{"role": "system", "content": ""}], RequestError, "refuses .*: no system"),
    "half a pair": ("a\ud800", RequestError, "character 1 of the text is half a surrogate pair"),
}


@pytest.mark.parametrize(("prompt", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused(
    reader: PromptReader, prompt: Prompt, kind: type[RequestError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        reader.ids(prompt)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("prompt", "what"), [("a", "text"), ([{"role": "user"}], "messages")])
def test_without_a_tokenizer_only_ids_are_read(prompt: Prompt, what: str) -> None:
    reader = PromptReader(None, 64)
    assert reader.ids([5]) == (5,)
    with pytest.raises(RequestError, match=f"no tokenizer, so {what} cannot be read; give ids"):
        reader.ids(prompt)


@pytest.mark.parametrize(
    ("template", "kind", "message"),
    [
        (None, BadFile, "the checkpoint has no chat template"),
        ("{{ messages[0].content + 1 }}", RequestError, "fails on these messages: TypeError"),
        ("{% for m in messages %}", BadFile, "the chat template does not parse: line 1"),
        ("{{ ''.__class__.__mro__ }}", BadFile, "does what it must not"),
    ],
)
def test_a_template_that_fails_says_so(
    wordy: Callable[[str | None], Tokenizer], template: str | None, kind: type, message: str
) -> None:
    asked: list[Mapping[str, object]] = [{"role": "user", "content": "a"}]
    with pytest.raises(kind, match=message):
        PromptReader(wordy(template), 64).ids(asked)
