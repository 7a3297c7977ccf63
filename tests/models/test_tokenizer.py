import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from penjing.errors import BadFile, BadQuantity, Contradiction, RequestError, UnknownName
from penjing.models import tokenizer as module
from penjing.models.tokenizer import ThinkingIds, Tokenizer

Made = Callable[..., tokenizers.Tokenizer]
Write = Callable[..., Path]

BAR = "\uff5c"  # full width, in the names of DeepSeek's tokens
BOS, EOS = f"<{BAR}begin▁of▁sentence{BAR}>", f"<{BAR}end▁of▁sentence{BAR}>"
NAMES = {"bos_token": BOS, "eos_token": {"__type": "AddedToken", "content": EOS}}
TEXTS = (
    "the fox",
    " two  spaces ",
    "naïve 深度 😀\n\tx",
    "",
    "a<think>b</think>c",
    f"{BOS}hi{EOS}",
)


def with_bos(made: tokenizers.Tokenizer, *, eos: bool = False) -> tokenizers.Tokenizer:
    """The post-processor as Llama 3's file has it."""
    ids = [(token, made.token_to_id(token)) for token in (BOS, EOS)]
    template = f"{BOS} $A {EOS}" if eos else f"{BOS} $A"
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    return made


def sentencepiece(*, legacy: bool, fallback: bool = True) -> tokenizers.Tokenizer:
    """Llama 2's pipeline over lower-case letters, in the two forms its files come in."""
    names = ["<unk>", "<s>", "</s>"]
    hexes = [f"<0x{byte:02X}>" for byte in range(256)] if fallback else []
    vocab = {token: i for i, token in enumerate([*names, *hexes, *"▁abcdefghijklmnopqrstuvwxyz"])}
    made = tokenizers.Tokenizer(
        models.BPE(vocab, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    if legacy:
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.add_special_tokens(names)
    return made


@pytest.fixture
def folder(bytelevel: Made, write_checkpoint: Write) -> Path:
    made = bytelevel(BOS, EOS)
    made.add_tokens(["<think>", "</think>"])
    return write_checkpoint({"tokenizer.json": with_bos(made), "tokenizer_config.json": NAMES})


def peer_of(folder: Path) -> Any:
    return PreTrainedTokenizerFast.from_pretrained(folder)


def test_ids_and_text_are_those_of_the_peer(folder: Path) -> None:
    ours, peer = Tokenizer.load(folder), peer_of(folder)
    assert (ours.bos_id, ours.eos_id) == (peer.bos_token_id, peer.eos_token_id)
    assert ours.vocab_size == len(peer)
    assert ours.special_ids == set(peer.all_special_ids)
    for text in TEXTS:
        plain = peer.encode(text, add_special_tokens=False)
        assert ours.encode(text, add_special_tokens=False) == plain
        assert ours.encode_rendered(text) == plain
        framed = peer.encode(text)
        assert ours.encode(text) == (framed[1:] if text.startswith(BOS) else framed)
        for skip in (True, False):
            assert ours.decode(framed, skip_special_tokens=skip) == peer.decode(
                framed, skip_special_tokens=skip
            )


def test_any_text_comes_back_from_bytes(bytelevel: Made) -> None:
    ours = Tokenizer(bytelevel())

    @given(st.text())
    @settings(deadline=None)
    def comes_back(text: str) -> None:
        assert ours.decode(ours.encode(text)) == text

    comes_back()


def test_the_texts_tried_on_load_leave_no_room_for_excuses() -> None:
    texts = module._ROUND_TRIP
    assert all(unicodedata.normalize("NFC", text) == text for text in texts)
    assert not any(text[0].isspace() for text in texts)
    assert any("  " in text for text in texts)
    assert any("\n    " in text or "\t" in text for text in texts)
    assert any(ord(c) > 0xFFFF for text in texts for c in text)


@pytest.mark.parametrize("legacy", [True, False])
def test_sentencepiece_with_byte_fallback_passes(write_checkpoint: Write, legacy: bool) -> None:
    made = sentencepiece(legacy=legacy)
    names = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    ours = Tokenizer.load(
        write_checkpoint({"tokenizer.json": made, "tokenizer_config.json": names})
    )
    ids = ours.encode("naïve  fox 😀")
    assert ids[0] == ours.bos_id == 1
    assert ours.decode(ids) == "naïve  fox 😀"


@pytest.mark.parametrize("what", ["pre-tokenizer", "decoder", "both"])
def test_a_byte_level_vocabulary_under_other_steps_is_refused(
    bytelevel: Made, write_checkpoint: Write, what: str
) -> None:
    made = bytelevel(BOS, EOS)
    if what != "decoder":
        made.pre_tokenizer = pre_tokenizers.Metaspace()
    if what != "pre-tokenizer":
        made.decoder = decoders.Metaspace()
    with pytest.raises(BadFile, match=r"byte-level, but its .* is Metaspace.*issue 45488") as error:
        Tokenizer.load(write_checkpoint({"tokenizer.json": made}))
    text = str(error.value)
    assert "\n" not in text
    assert ("pre-tokenizer is" in text, "decoder is" in text) == (
        what != "decoder",
        what != "pre-tokenizer",
    )
    assert " into " in text


def test_the_trap_is_not_excused_by_an_unknown_token(
    bytelevel: Made, write_checkpoint: Write
) -> None:
    raw = json.loads(bytelevel().to_str())
    raw["model"]["unk_token"] = "<unk>"
    raw["model"]["vocab"]["<unk>"] = 300
    raw["pre_tokenizer"] = json.loads(pre_tokenizers.Metaspace().__getstate__())
    made = tokenizers.Tokenizer.from_str(json.dumps(raw))
    assert made.token_to_id("<unk>") in made.encode("a b").ids
    with pytest.raises(BadFile, match="45488"):
        Tokenizer.load(write_checkpoint({"tokenizer.json": made}))


def test_a_small_vocabulary_may_lack_words_if_it_says_so(write_checkpoint: Write) -> None:
    made = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "fox": 2}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    ours = Tokenizer.load(write_checkpoint({"tokenizer.json": made}))
    assert ours.encode("the red fox") == [1, 0, 2]
    letters = sentencepiece(legacy=True, fallback=False)
    assert Tokenizer.load(write_checkpoint({"tokenizer.json": letters})).encode("ab")


def test_a_vocabulary_that_drops_text_in_silence_is_refused(write_checkpoint: Write) -> None:
    made = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    with pytest.raises(BadFile, match="dropped in silence"):
        Tokenizer.load(write_checkpoint({"tokenizer.json": made}))
    never = tokenizers.Tokenizer(models.WordLevel({"a": 0}, "[UNK]"))
    with pytest.raises(BadFile, match="does not encode"):
        Tokenizer.load(write_checkpoint({"tokenizer.json": never}))


@pytest.mark.parametrize("by_post_processor", [True, False])
@pytest.mark.parametrize("flag", [True, False, None])
def test_the_flag_decides_on_a_bos_and_else_the_post_processor(
    bytelevel: Made, write_checkpoint: Write, by_post_processor: bool, flag: bool | None
) -> None:
    made = bytelevel(BOS, EOS)
    made = with_bos(made) if by_post_processor else made
    config = {**NAMES, "add_bos_token": flag}
    ours = Tokenizer.load(
        write_checkpoint({"tokenizer.json": made, "tokenizer_config.json": config})
    )
    bare = ours.encode("hi", add_special_tokens=False)
    expected = by_post_processor if flag is None else flag
    assert ours.encode("hi") == [*([ours.bos_id] if expected else []), *bare]
    assert ours.encode_rendered(f"{BOS}hi") == ours.encode(f"{BOS}hi", add_special_tokens=False)
    assert ours.encode(f"{BOS}hi") == [ours.bos_id, *bare]


def test_an_end_that_the_files_ask_for_is_added(bytelevel: Made, write_checkpoint: Write) -> None:
    made = with_bos(bytelevel(BOS, EOS), eos=True)
    files = {"tokenizer.json": made, "tokenizer_config.json": NAMES}
    ids = Tokenizer.load(write_checkpoint(files)).encode("hi")
    assert (ids[0], ids[-1]) == (made.token_to_id(BOS), made.token_to_id(EOS))
    files["tokenizer_config.json"] = {**NAMES, "add_eos_token": False}
    assert Tokenizer.load(write_checkpoint(files)).encode("hi") == ids[:-1]


def test_names_come_from_either_file_and_null_means_none(
    bytelevel: Made, write_checkpoint: Write
) -> None:
    files = {"tokenizer.json": bytelevel(BOS, EOS), "special_tokens_map.json": NAMES}
    ours = Tokenizer.load(write_checkpoint(files))
    assert (ours.bos_token, ours.eos_token) == (BOS, EOS)
    files["tokenizer_config.json"] = {"bos_token": None}
    ours = Tokenizer.load(write_checkpoint(files))
    assert (ours.bos_id, ours.eos_token) == (None, EOS)


def test_a_named_token_is_special_even_if_only_the_model_has_it(
    bytelevel: Made, write_checkpoint: Write
) -> None:
    files = {"tokenizer.json": bytelevel(), "tokenizer_config.json": {"eos_token": "own"}}
    folder = write_checkpoint(files)
    ours, peer = Tokenizer.load(folder), peer_of(folder)
    assert ours.special_ids == {ours.eos_id}
    ids = ours.encode("brown fox")
    assert ours.eos_id in ids
    assert ids == peer.encode("brown fox")
    assert ours.decode(ids) == peer.decode(ids, skip_special_tokens=True) == "br fox"


def test_thinking_takes_one_token_each(folder: Path, bytelevel: Made) -> None:
    ours = Tokenizer.load(folder)
    assert ours.thinking == ThinkingIds(open=ours.id_of("<think>"), close=ours.id_of("</think>"))
    assert ours.decode(ours.encode("<think>a</think>")) == "<think>a</think>"
    assert Tokenizer(bytelevel()).thinking is None
    half = bytelevel()
    half.add_tokens(["<think>"])
    assert Tokenizer(half).thinking is None


def test_a_token_is_found_by_its_spelling(folder: Path) -> None:
    ours = Tokenizer.load(folder)
    assert ours.decode([ours.id_of("</think>")]) == "</think>"
    with pytest.raises(UnknownName, match=r"unknown token '<thinks>'; nearest: <think>"):
        ours.id_of("<thinks>")


def test_ids_have_to_fit_the_model(folder: Path) -> None:
    size = Tokenizer.load(folder).vocab_size
    assert Tokenizer.load(folder, size).vocab_size == Tokenizer.load(folder, size + 9).vocab_size
    with pytest.raises(Contradiction, match=f"ids up to {size - 1}, .* vocab_size of {size - 1}"):
        Tokenizer.load(folder, size - 1)


def test_ids_that_stand_for_nothing(folder: Path) -> None:
    ours = Tokenizer.load(folder)
    assert ours.decode([*ours.encode("hi"), ours.vocab_size, 10**6]) == "hi"
    for wrong in (-1, 2**32):
        with pytest.raises(BadQuantity, match=f"token id {wrong}; ids run from 0"):
            ours.decode([wrong])


def test_half_a_surrogate_pair_is_refused(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"character 1 .* surrogate"):
        Tokenizer.load(folder).encode("a\ud83d")


def test_a_file_cannot_cut_or_pad_prompts(bytelevel: Made, write_checkpoint: Write) -> None:
    made = bytelevel()
    made.enable_truncation(3)
    made.enable_padding(length=3)
    ours = Tokenizer.load(write_checkpoint({"tokenizer.json": made}))
    assert ours.decode(ours.encode("the quick brown fox")) == "the quick brown fox"
    assert ours.encode("") == []


def test_the_template_comes_along(bytelevel: Made, write_checkpoint: Write) -> None:
    files = {"tokenizer.json": bytelevel(), "chat_template.jinja": "{{ messages }}"}
    assert Tokenizer.load(write_checkpoint(files)).chat_template == "{{ messages }}"
    files.pop("chat_template.jinja")
    assert Tokenizer.load(write_checkpoint(files)).chat_template is None


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"eos_token": "<none>"}, "'<none>' as its eos_token, which tokenizer.json does not have"),
        ({"bos_token": 3}, "3 as its bos_token"),
        ({"add_bos_token": "yes"}, "add_bos_token in .* is 'yes'"),
        ({"added_tokens_decoder": {"7": {"content": BOS}}}, "at 7, tokenizer.json has it at"),
        ({"added_tokens_decoder": {"7": {"content": "<x>"}}}, "at 7, tokenizer.json lacks it"),
        ("{", "not usable JSON"),
        ([], "holds a list"),
    ],
)
def test_files_that_do_not_belong_together(
    bytelevel: Made, write_checkpoint: Write, config: object, match: str
) -> None:
    files = {"tokenizer.json": bytelevel(BOS), "tokenizer_config.json": config}
    with pytest.raises(BadFile, match=match):
        Tokenizer.load(write_checkpoint(files))


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({}, "has no tokenizer.json; give the folder"),
        ({"tiktoken.model": ""}, "has no tokenizer.json; convert its tiktoken.model"),
        ({"tokenizer.json": "{"}, "tokenizer.json does not parse"),
    ],
)
def test_a_missing_or_broken_file(write_checkpoint: Write, files: object, match: str) -> None:
    with pytest.raises(BadFile, match=match):
        Tokenizer.load(write_checkpoint(files))
