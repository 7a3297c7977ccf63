"""A model whose next token depends on the last one alone, so that every reply is known."""

from itertools import pairwise

import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from penjing.engine.completion import Delta, Finish
from penjing.engine.conversation import BlockStream, Conversation
from penjing.engine.engine import Engine
from penjing.engine.load import plan_for
from penjing.engine.memory import Limits
from penjing.engine.sampling import Sampling
from penjing.errors import BadQuantity, Contradiction, RequestError
from penjing.models.decoder import Decoder
from penjing.models.generation_config import GenerationDefaults
from penjing.models.huggingface import model_from_hf
from penjing.models.tokenizer import Tokenizer

OPEN, CLOSE, EOS = 256, 257, 258
# After each token the next: thinking and an answer; thinking twice; or l for ever.
NEXT = ("<think>", "h", "m", "</think>", "\n", "Y", "o", "<eos>"), ("L", "l", "L"), ("a", "<think>")
TEMPLATE = """
{%- for m in messages %}
    {%- if m.content == 'no' %}{{ raise_exception('not that') }}{% endif %}
    {{- m.role[0] + ':' + m.content.split('</think>')[-1] + '\\n' }}
{%- endfor %}
{{- {'loop': 'L', 'long': 'a'}.get(messages[-1].content, '<think>') }}"""
CONFIG = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "vocab_size": 264,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
}
GREEDY = Sampling(temperature=0, max_tokens=12)
Shown = list[tuple[str, bool]]


def words(*, template: str | None = TEMPLATE, tags: bool = True) -> Tokenizer:
    """A token a byte, and the special ones."""
    letters = {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    inner = tokenizers.Tokenizer(BPE(letters, []))
    inner.pre_tokenizer = ByteLevel(add_prefix_space=False)
    inner.decoder = ByteLevelDecoder()
    inner.add_tokens(["<think>" if tags else "<thunk>", "</think>", "<eos>"])
    return Tokenizer(inner, eos_token="<eos>", chat_template=template)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """Layers add nothing, embeddings are nearly orthogonal, and the head knows what comes next."""
    decoder, tokenizer = Decoder(model_from_hf(CONFIG, "chain")), words()
    generator = torch.Generator().manual_seed(0)
    assert decoder.head is not None
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        signs = torch.randint(0, 2, decoder.embedding.shape, generator=generator)
        decoder.embedding.copy_(signs * 2.0 - 1)
        for last, following in (pair for chain in NEXT for pair in pairwise(chain)):
            row = decoder.head[tokenizer.encode(following)[0]]
            row += decoder.embedding[tokenizer.encode(last)[0]]
    return decoder


def talk(
    decoder: Decoder,
    tokenizer: Tokenizer | None = None,
    sampling: Sampling = GREEDY,
    system: str | None = None,
) -> Conversation:
    like = decoder.embedding
    limits = Limits(max_sequences=1, max_batch_tokens=32)
    engine = Engine(
        decoder,
        tokenizer=tokenizer or words(),
        defaults=GenerationDefaults(eos_ids=(EOS,)),
        plan=plan_for(decoder.config, like.dtype, like.device, limits, weights_held=True),
    )
    return Conversation(engine, sampling, system)


def ignore(_text: str, _is_thinking: bool) -> None:
    pass


def prompt_of(conversation: Conversation, text: str) -> str:
    ids = conversation.say(text, ignore).completion.prompt_ids
    return words().decode(ids, skip_special_tokens=False)


def test_a_reply_comes_in_blocks_told_by_ids(decoder: Decoder) -> None:
    shown: Shown = []
    reply = talk(decoder).say("hi", lambda *piece: shown.append(piece))
    assert shown == [("h", True), ("m", True), ("\n", False), ("Y", False), ("o", False)]
    assert (reply.thinking, reply.answer) == ("hm", "Yo")
    assert reply.content == "<think>hm</think>\nYo"
    assert reply.completion.finish is Finish.STOP
    assert reply.completion.text == "hm</think>\nYo"
    assert reply.ttft_s is not None
    assert reply.ttft_s > 0
    assert reply.tokens_per_s is not None
    assert reply.tokens_per_s > 0


def test_the_template_sees_what_was_said_and_cuts_the_thinking(decoder: Decoder) -> None:
    conversation = talk(decoder, system="Be brief")
    assert prompt_of(conversation, "hi") == "s:Be brief\nu:hi\n<think>"
    assert conversation.messages[-1]["content"] == "<think>hm</think>\nYo"
    assert prompt_of(conversation, "so") == "s:Be brief\nu:hi\na:\nYo\nu:so\n<think>"
    grown = conversation.has_history
    conversation.reset()
    assert (grown, conversation.has_history) == (True, False)
    assert prompt_of(conversation, "hi") == "s:Be brief\nu:hi\n<think>"


def test_thinking_that_was_cut_short_is_cut_from_the_history_too(decoder: Decoder) -> None:
    conversation = talk(decoder, sampling=Sampling(temperature=0, max_tokens=1))
    reply = conversation.say("hi", ignore)
    assert (reply.completion.finish, reply.answer, reply.tokens_per_s) == (Finish.LENGTH, "", None)
    assert prompt_of(conversation, "so") == "u:hi\na:\nu:so\n<think>"


def test_a_block_that_the_model_opens_is_kept_with_its_tags(decoder: Decoder) -> None:
    shown: Shown = []
    reply = talk(decoder).say("long", lambda *piece: shown.append(piece))
    assert shown[:2] == [("h", True), ("m", True)]
    assert reply.content == "<think>hm</think>\nYo" == reply.completion.text


def test_a_stopped_reply_ends_where_it_stands(decoder: Decoder) -> None:
    shown: Shown = []
    conversation = talk(decoder)
    reply = conversation.say("loop", lambda *p: shown.append(p), lambda: len(shown) == 3)
    assert (reply.completion.finish, reply.answer) == (Finish.ABORT, "lLl")
    assert conversation.messages[-1] == {"role": "assistant", "content": "lLl"}
    nothing = conversation.say("loop", ignore, lambda: True)
    assert (nothing.answer, nothing.ttft_s) == ("", None)
    assert conversation.say("hi", ignore).answer == "Yo"


def test_a_turn_that_fails_is_forgotten(decoder: Decoder) -> None:
    conversation = talk(decoder)
    conversation.say("hi", ignore)
    before = list(conversation.messages)
    with pytest.raises(RequestError, match="not that"):
        conversation.say("no", ignore)
    with pytest.raises(BadQuantity, match="prompt and completion together may have 128"):
        conversation.say("x" * 200, ignore)
    assert conversation.messages == before
    assert conversation.say("hi", ignore).answer == "Yo"


def test_without_a_template_each_text_is_gone_on_with(decoder: Decoder) -> None:
    conversation = talk(decoder, words(template=None))
    assert conversation.is_plain
    assert conversation.say("<think>", ignore).answer == "Yo"
    assert conversation.say("L", ignore).answer == "lL" * 6
    assert conversation.messages == []


def test_what_the_checkpoint_cannot_do_is_refused(decoder: Decoder) -> None:
    with pytest.raises(Contradiction, match="a system message needs a chat template"):
        talk(decoder, words(template=None), system="Be brief")
    with pytest.raises(Contradiction, match="a thinking budget needs single tokens"):
        talk(decoder, words(tags=False), Sampling(thinking_budget=3))


@given(st.lists(st.one_of(st.integers(0, 255), st.sampled_from([OPEN, CLOSE, EOS]))), st.booleans())
def test_blocks_follow_the_tags_and_are_what_was_shown(ids: list[int], is_open: bool) -> None:
    tokenizer = words()
    shown: Shown = []
    prompt = [OPEN] if is_open else []
    stream = BlockStream(tokenizer, prompt, lambda *piece: shown.append(piece))
    for token in ids:
        stream.push(Delta(index=0, ids=(token,), text="", logprobs=(0.0,)))
    stream.push(Delta(index=0, ids=(), text="", logprobs=(), finish=Finish.LENGTH))
    parts: list[tuple[list[int], bool]] = [([], is_open)]
    for token in ids:
        inside = parts[-1][1]
        if token == (CLOSE if inside else OPEN):
            parts.append(([], not inside))
        else:
            parts[-1][0].append(token)
    texts = [(tokenizer.decode(part), inside) for part, inside in parts]
    blocks = [(block.text, block.is_thinking) for block in stream.blocks]
    assert blocks == [(text, inside) for text, inside in texts if text or inside]
    assert "".join(text for text, _ in shown) == "".join(text for text, _ in blocks)
    assert all(inside in [i for t, i in blocks if text in t] for text, inside in shown)


def test_the_id_that_ends_a_reply_is_no_text() -> None:
    """Whatever it is: a checkpoint may name any id as its end."""
    tokenizer = words()
    stream = BlockStream(tokenizer, [], ignore)
    (end,) = tokenizer.encode("m")
    stream.push(Delta(index=0, ids=(end,), text="", logprobs=(0.0,)))
    stream.push(Delta(index=0, ids=(end,), text="", logprobs=(0.0,), finish=Finish.STOP))
    assert [block.text for block in stream.blocks] == ["m"]
