"""What a caller hands over as a prompt, and the ids it stands for."""

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any, SupportsIndex, TypeGuard

from penjing.errors import BadQuantity, RequestError
from penjing.models.chat_template import ChatTemplate
from penjing.models.tokenizer import Tokenizer

Message = Mapping[str, object]
Prompt = str | Sequence[int] | Sequence[Message]


class PromptReader:
    """Text by the tokenizer, messages by the chat template, ids as they are.

    ``tokenizer`` None takes ids only.
    """

    def __init__(self, tokenizer: Tokenizer | None, vocab_size: int) -> None:
        self._tokenizer, self._vocab_size = tokenizer, vocab_size
        self._template: ChatTemplate | None = None  # compiled when first needed

    def ids(self, prompt: Prompt, **variables: Any) -> tuple[int, ...]:
        """``variables`` go to the chat template, such as ``enable_thinking``.

        Raises ``RequestError`` for a prompt of no token or no known kind, ``BadQuantity`` for ids
        outside the vocabulary, and what the template raises.
        """
        if isinstance(prompt, str):
            ids = self._needed("text").encode(prompt)
        elif _are_messages(prompt):
            ids = self._from_messages(prompt, variables)
        else:
            ids = self._checked(prompt)
        if not ids:
            raise RequestError("the prompt has no tokens; give at least one")
        return tuple(ids)

    def _from_messages(
        self, messages: Sequence[Message], variables: Mapping[str, Any]
    ) -> list[int]:
        tokenizer = self._needed("messages")
        if self._template is None:
            self._template = ChatTemplate(
                tokenizer.chat_template,
                bos_token=tokenizer.bos_token,
                eos_token=tokenizer.eos_token,
            )
        return tokenizer.encode_rendered(self._template.render(messages, **variables))

    def _needed(self, what: str) -> Tokenizer:
        if self._tokenizer is None:
            raise RequestError(f"the engine has no tokenizer, so {what} cannot be read; give ids")
        return self._tokenizer

    def _checked(self, prompt: object) -> list[int]:
        if not isinstance(prompt, Sequence):
            raise _unreadable(f"is a {type(prompt).__name__}")
        return [self._id(token) for token in prompt]

    def _id(self, token: object) -> int:
        if isinstance(token, bool) or not isinstance(token, SupportsIndex):
            raise _unreadable(f"holds {token!r}")
        value = index(token)
        if not 0 <= value < self._vocab_size:
            raise BadQuantity(
                f"a prompt holds id {value}; ids are at least 0 and below {self._vocab_size}, the "
                "size of the vocabulary"
            )
        return value


def _are_messages(prompt: object) -> TypeGuard[Sequence[Message]]:
    return isinstance(prompt, Sequence) and len(prompt) > 0 and isinstance(prompt[0], Mapping)


def _unreadable(what: str) -> RequestError:
    return RequestError(f"a prompt {what}; give text, a list of messages, or a list of ids")
