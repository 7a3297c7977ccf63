"""Text to token ids and back, by the ``tokenizer.json`` of a checkpoint and nothing else.

A tokenizer that was loaded and saved by other software may have lost its byte-level steps: it
runs, and drops every space and accent (transformers issue 45488). So a tokenizer has to give
fixed texts back before it is used.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers.pre_tokenizers import ByteLevel

from penjing.errors import BadFile, BadQuantity, Contradiction, RequestError, UnknownName
from penjing.models.chat_template import template_source
from penjing.models.hub import json_object

# In Unicode's form NFC, which some tokenizers bring text into, and without a space in front, which
# those after SentencePiece may take for their own.
_ROUND_TRIP = (
    "The quick brown fox jumps over 13 lazy dogs, doesn't it?  Two spaces; 3.14159 and 2**10.",
    "def f(x):\n\tif x > 0:\n        return {'a': [x, -1]}  # done\n\n\nprint(f(2))\n",
    "Größe, naïve café, garçon; ¿qué?; Привет, мир; Ελληνικά; שלום; مرحبا; नमस्ते; สวัสดี",
    "深度求索\uff0c你好世界。日本語のテキスト、한국어 문장",
    "a\tb\r\nc   d\u00a0e \n \n f ",
    "😀 \U0001f469\u200d\U0001f4bb \U0001f1e8\U0001f1ed ≤ ∑ √2 → ∞ \U00020000",
)
_MAX_ID = 2**32


@dataclass(frozen=True, kw_only=True)
class ThinkingIds:
    """Ids of ``<think>`` and ``</think>``."""

    open: int
    close: int


class Tokenizer:
    """The tokenizer of one checkpoint; made by ``load``."""

    def __init__(
        self,
        inner: tokenizers.Tokenizer,
        *,
        bos_token: str | None = None,
        eos_token: str | None = None,
        chat_template: str | None = None,
        add_bos: bool | None = None,
        add_eos: bool | None = None,
    ) -> None:
        self._inner = inner
        self.bos_token, self.eos_token = bos_token, eos_token
        self.chat_template = chat_template
        self.bos_id = None if bos_token is None else self.id_of(bos_token)
        self.eos_id = None if eos_token is None else self.id_of(eos_token)
        added = inner.get_added_tokens_decoder()
        named = {i for i in (self.bos_id, self.eos_id) if i is not None}
        self.special_ids = frozenset({i for i, token in added.items() if token.special} | named)
        self.vocab_size = max(inner.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self._before, self._after = self._frame(add_bos, add_eos)
        self.thinking = self._thinking()

    @classmethod
    def load(cls, folder: Path, vocab_size: int | None = None) -> "Tokenizer":
        """Read the files of a checkpoint and try them out.

        ``vocab_size`` is that of the model's config, which ids have to stay below. Raises
        ``BadFile`` for files that are missing, malformed, or do not give text back, and
        ``Contradiction`` for ids that the model has no row for.
        """
        config = json_object(folder, "tokenizer_config.json") or {}
        named = {**(json_object(folder, "special_tokens_map.json") or {}), **config}
        inner = _read(folder)
        _check_round_trip(inner, folder)
        _check_added(inner, config, folder)
        tokenizer = cls(
            inner,
            bos_token=_named(inner, named, "bos_token", folder),
            eos_token=_named(inner, named, "eos_token", folder),
            chat_template=template_source(folder),
            add_bos=_flag(config, "add_bos_token", folder),
            add_eos=_flag(config, "add_eos_token", folder),
        )
        _check_ids(tokenizer, vocab_size, folder)
        return tokenizer

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Ids of a plain prompt; special tokens spelled out in it count as such.

        ``add_special_tokens`` puts around it what the checkpoint says: ``add_bos_token`` of
        tokenizer_config.json where it is given, else the post-processor of tokenizer.json. A text
        that begins with it already gets it no second time. ``RequestError`` for half a surrogate
        pair.
        """
        ids = self.encode_rendered(text)
        if not add_special_tokens:
            return ids
        doubled = tuple(ids[: len(self._before)]) == self._before
        return [*(() if doubled else self._before), *ids, *self._after]

    def encode_rendered(self, text: str) -> list[int]:
        """Ids of what a chat template made: nothing is added.

        The template writes the token that begins a text, or means that there is none.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RequestError(
                f"character {error.start} of the text is half a surrogate pair; send valid Unicode"
            ) from None
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of ids, exactly: no spaces are tidied away.

        Ids past the vocabulary, such as the rows that pad an embedding, stand for nothing; those
        that cannot be ids are a ``BadQuantity``. Bytes that are no UTF-8 become U+FFFD.
        """
        wrong = next((i for i in ids if not 0 <= i < _MAX_ID), None)
        if wrong is not None:
            raise BadQuantity(f"token id {wrong}; ids run from 0 to {self.vocab_size - 1}")
        kept = [i for i in ids if not skip_special_tokens or i not in self.special_ids]
        return str(self._inner.decode(kept, skip_special_tokens=False))

    def id_of(self, token: str) -> int:
        """The id of a token spelled as in the vocabulary; ``UnknownName``."""
        found = self._inner.token_to_id(token)
        if found is None:
            known = [t.content for t in self._inner.get_added_tokens_decoder().values()]
            raise UnknownName("token", token, known)
        return int(found)

    def _frame(
        self, add_bos: bool | None, add_eos: bool | None
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids that belong before and after a prompt."""
        bare = self._inner.encode("a", add_special_tokens=False).ids
        full = self._inner.encode("a", add_special_tokens=True).ids
        start = next(i for i in range(len(full) + 1) if full[i : i + len(bare)] == bare)
        before, after = tuple(full[:start]), tuple(full[start + len(bare) :])
        if add_bos is not None:
            before = (self.bos_id,) if add_bos and self.bos_id is not None else ()
        if add_eos is not None:
            after = (self.eos_id,) if add_eos and self.eos_id is not None else ()
        return before, after

    def _thinking(self) -> ThinkingIds | None:
        opened, closed = (self._inner.token_to_id(t) for t in ("<think>", "</think>"))
        if opened is None or closed is None:
            return None
        ids = self.encode_rendered("<think>a</think>")
        if ids.count(opened) != 1 or ids.count(closed) != 1:  # in the vocabulary, but never reached
            return None
        return ThinkingIds(open=opened, close=closed)


def _read(folder: Path) -> tokenizers.Tokenizer:
    file = folder / "tokenizer.json"
    if not file.exists():
        others = sorted(f.name for f in folder.glob("*.model"))
        raise BadFile(
            f"{folder} has no tokenizer.json; "
            + (f"convert its {others[0]} into one" if others else "give the folder of a checkpoint")
        )
    try:
        inner = tokenizers.Tokenizer.from_file(str(file))
    # The package raises bare Exceptions.
    except Exception as error:
        raise BadFile(f"{file} does not parse: {error}; fetch it again") from None
    # A file may tell to cut or pad what is encoded, which no prompt survives unharmed.
    inner.no_truncation()
    inner.no_padding()
    return inner


def _named(
    inner: tokenizers.Tokenizer, config: Mapping[str, object], role: str, folder: Path
) -> str | None:
    """The token in that role. Where the model alone knows it, text is made to parse as it."""
    token = config.get(role)
    if isinstance(token, Mapping):
        token = token.get("content")
    if token is None:
        return None
    if not isinstance(token, str) or inner.token_to_id(token) is None:
        raise BadFile(
            f"{folder} names {token!r} as its {role}, which tokenizer.json does not have; take "
            "both from the original checkpoint"
        )
    if token not in {t.content for t in inner.get_added_tokens_decoder().values()}:
        inner.add_special_tokens([token])
    return token


def _flag(config: Mapping[str, object], key: str, folder: Path) -> bool | None:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise BadFile(
            f"{key} in {folder / 'tokenizer_config.json'} is {value!r}; it must be true or false"
        )
    return value


def _check_added(inner: tokenizers.Tokenizer, config: Mapping[str, object], folder: Path) -> None:
    """Tokens that tokenizer_config.json lists have to be those of tokenizer.json."""
    listed = config.get("added_tokens_decoder")
    for spelled, token in listed.items() if isinstance(listed, Mapping) else ():
        content = token.get("content") if isinstance(token, Mapping) else token
        found = inner.token_to_id(content) if isinstance(content, str) else None
        if str(found) != spelled:
            where = "lacks it" if found is None else f"has it at {found}"
            raise BadFile(
                f"{folder}: tokenizer_config.json has {content!r} at {spelled}, tokenizer.json "
                f"{where}; take both from the original checkpoint"
            )


def _check_ids(tokenizer: Tokenizer, vocab_size: int | None, folder: Path) -> None:
    if vocab_size is not None and tokenizer.vocab_size > vocab_size:
        raise Contradiction(
            f"{folder}: tokenizer.json has ids up to {tokenizer.vocab_size - 1}, but the config a "
            f"vocab_size of {vocab_size}; take both from the same checkpoint"
        )


def _check_round_trip(inner: tokenizers.Tokenizer, folder: Path) -> None:
    """``BadFile`` where a text comes back changed.

    A vocabulary of bytes can spell anything, so any change is a fault. Another may lack characters:
    a text for which it gives its unknown token proves nothing, and is left out.
    """
    spells_all = _has_bytes(inner)
    for text in _ROUND_TRIP:
        ids, found = _there_and_back(inner, text, folder)
        if found == text or (not spells_all and _unknown(inner) in ids):
            continue
        at = next((i for i, (a, b) in enumerate(zip(text, found, strict=False)) if a != b), None)
        at = min(len(text), len(found)) if at is None else at
        raise BadFile(
            f"{folder / 'tokenizer.json'} turns {text[at : at + 12]!r} into "
            f"{found[at : at + 12]!r}: {_fault(inner)}; take it from the original checkpoint"
        )


def _there_and_back(inner: tokenizers.Tokenizer, text: str, folder: Path) -> tuple[list[int], str]:
    try:
        ids = inner.encode(text, add_special_tokens=False).ids
        return ids, inner.decode(ids, skip_special_tokens=False)
    except Exception as error:
        raise BadFile(
            f"{folder / 'tokenizer.json'} does not encode {text[:12]!r}: {error}; take it from the "
            "original checkpoint"
        ) from None


def _has_bytes(inner: tokenizers.Tokenizer) -> bool:
    """Whether every byte is a token, as a letter of its own or as ``<0xHH>``."""
    byte_fallback = (f"<0x{byte:02X}>" for byte in range(256))
    return _has_all(inner, iter(ByteLevel.alphabet())) or _has_all(inner, byte_fallback)


def _has_all(inner: tokenizers.Tokenizer, tokens: Iterator[str]) -> bool:
    return all(inner.token_to_id(token) is not None for token in tokens)


def _unknown(inner: tokenizers.Tokenizer) -> int | None:
    """What the model gives for text that it lacks; of a unigram model the package does not tell."""
    token = getattr(inner.model, "unk_token", None) or "<unk>"
    return inner.token_to_id(token)


def _fault(inner: tokenizers.Tokenizer) -> str:
    steps = {"pre-tokenizer": inner.pre_tokenizer, "decoder": inner.decoder}
    lost = [name for name, step in steps.items() if "ByteLevel" not in repr(step)]
    if lost and _has_all(inner, iter(ByteLevel.alphabet())):
        replaced = " and ".join(f"its {name} is {_kind(steps[name])}" for name in lost)
        return (
            f"its vocabulary is byte-level, but {replaced}, as software that takes every model "
            "for a Llama 2 saves it (transformers issue 45488)"
        )
    return "its steps do not undo one another, or characters are dropped in silence"


def _kind(step: object) -> str:
    return "missing" if step is None else repr(step).partition("(")[0]
