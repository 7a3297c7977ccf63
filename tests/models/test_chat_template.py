import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from penjing.errors import BadFile, Contradiction, PenjingError, RequestError
from penjing.models.chat_template import ChatTemplate, template_source

Message = dict[str, Any]
Write = Callable[..., Path]

# The shapes of published templates, in words of our own; BAR is DeepSeek's full-width bar.
BAR = "\uff5c"
R1 = """
{%- set ns = namespace(system='', is_tool=false) -%}
{%- for message in messages if message['role'] == 'system' -%}
  {%- set ns.system = ns.system + message['content'] -%}
{%- endfor -%}
{{ bos_token }}{{ ns.system }}
{%- for message in messages -%}
  {%- if message['role'] == 'user' -%}
    {%- set ns.is_tool = false -%}
    {{- '<BARUserBAR>' + message['content'] -}}
  {%- elif message['role'] == 'assistant' and message['content'] is none -%}
    {{- '<BARAssistantBAR><BARtool▁calls▁beginBAR>' -}}
    {%- for call in message['tool_calls'] -%}
      {{- '<BARtool▁call▁beginBAR>' + call['type'] + '<BARtool▁sepBAR>' + call['function']['name']
          + '\\n```json\\n' + call['function']['arguments'] + '\\n```<BARtool▁call▁endBAR>' -}}
    {%- endfor -%}
    {{- '<BARtool▁calls▁endBAR>' + eos_token -}}
  {%- elif message['role'] == 'assistant' -%}
    {%- set content = message['content'] -%}
    {%- if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif -%}
    {{- '<BARAssistantBAR>' + content + eos_token -}}
  {%- elif message['role'] == 'tool' -%}
    {%- set ns.is_tool = true -%}
    {{- '<BARtool▁outputs▁beginBAR>' + message['content'] + '<BARtool▁outputs▁endBAR>' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not ns.is_tool %}{{ '<BARAssistantBAR><think>\\n' }}{% endif -%}
""".replace("BAR", BAR)
DISTILL = """
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{{ bos_token }}
{%- for m in messages %}
    {%- if m.role == 'assistant' %}{{ '<BARAssistantBAR>' + m.content.split('</think>')|last }}
    {%- else %}{{ '<BARUserBAR>' + m.content }}{% endif %}
{%- endfor %}
{% if add_generation_prompt %}{{ '<BARAssistantBAR><think>\\n' }}{% endif %}
""".lstrip().replace("BAR", BAR)
QWEN2 = """
{%- if tools %}
    {{- '<|im_start|>system\\nYou may call:\\n<tools>' }}
    {%- for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{% endfor %}
    {{- '\\n</tools><|im_end|>\\n' }}
{%- elif messages[0].role != 'system' %}
    {{- '<|im_start|>system\\nYou are of help.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content %}{{ '\\n' + message.content }}{% endif %}
        {%- for call in message.tool_calls %}
            {{- '\\n<tool_call>' }}{{ call.function | tojson(indent=1) }}{{ '</tool_call>' }}
        {%- endfor %}{{ '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
QWEN3 = """
{%- set ns = namespace(last=messages|length - 1, seen=false) %}
{%- for message in messages[::-1] %}
    {%- if message.role == 'user' %}
        {%- set ns.last = messages|length - 1 - loop.index0 %}{% break %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' }}
    {%- if message.role == 'assistant' and message.reasoning_content and loop.index0 > ns.last %}
        {{- '<think>\\n' ~ message.reasoning_content.strip('\\n') ~ '\\n</think>\\n\\n' }}
    {%- endif %}
    {%- if message.role == 'assistant' %}{% generation %}{{ content }}{% endgeneration %}
    {%- else %}{{ content }}{% endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
LLAMA3 = """
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}{% set messages = messages[1:] %}
{%- else %}{% set system = '' %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + strftime_now('%Y') + '\\n' }}
{{- system + '<|eot_id|>' }}
{%- for message in messages %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate\\nuser/assistant') }}
    {%- endif %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
    {{- message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- for document in documents or [] %}{{ document.title }}{% endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
ALL = {"r1": R1, "distill": DISTILL, "qwen2": QWEN2, "qwen3": QWEN3, "llama3": LLAMA3}
CHAT: list[Message] = [
    {"role": "user", "content": " 1 < 2 & 'so'? "},
    {"role": "assistant", "content": "<think>\nwell</think>\n\nYes, 是的。", "name": None},
    {"role": "user", "content": "Sure?"},
]
CALL = {"type": "function", "function": {"name": "f", "arguments": '{"x": "<é>"}'}}
TOOLS = [{"type": "function", "function": {"name": "f", "description": "Größer > 'x'"}}]


def of(source: str | None) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def peer(bytelevel: Callable[..., tokenizers.Tokenizer]) -> Callable[..., str]:
    made = bytelevel("<s>", "</s>")
    theirs = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")

    def render(source: str, messages: list[Message], **options: Any) -> str:
        return str(
            theirs.apply_chat_template(messages, chat_template=source, tokenize=False, **options)
        )

    return render


@pytest.mark.parametrize("source", ALL.values(), ids=ALL)
@pytest.mark.parametrize(
    "options",
    [
        {"add_generation_prompt": True},
        {"add_generation_prompt": False},
        {"add_generation_prompt": True, "enable_thinking": False},
        {"add_generation_prompt": True, "tools": TOOLS, "documents": [{"title": "T", "text": ""}]},
        {"add_generation_prompt": True, "bos_token": "<other>"},
    ],
)
def test_the_text_is_that_of_the_peer(
    peer: Callable[..., str], source: str, options: dict[str, Any]
) -> None:
    ours = of(source).render(CHAT, **options)
    assert ours == peer(source, CHAT, **options)
    assert "Sure?" in ours


@pytest.mark.parametrize("source", ALL.values(), ids=ALL)
@given(text=st.text(min_size=1))
@settings(deadline=None, max_examples=20)
def test_any_text_renders_as_at_the_peer(peer: Callable[..., str], source: str, text: str) -> None:
    chat = [{"role": "user", "content": text}]
    assert of(source).render(chat) == peer(source, chat, add_generation_prompt=True)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_understood_under_each_of_its_names(
    peer: Callable[..., str], key: str
) -> None:
    chat = [CHAT[0], {"role": "assistant", "content": "Yes.", key: "Hm.\n"}]
    ours = of(QWEN3).render(chat, add_generation_prompt=False)
    assert "<think>\nHm.\n</think>\n\nYes." in ours
    assert ours == peer(QWEN3, chat)


def test_r1_forgets_earlier_thinking_and_begins_to_think() -> None:
    for source in (R1, DISTILL):
        text = of(source).render(CHAT)
        assert text.startswith(f"<s><{BAR}User{BAR}> 1 < 2 & 'so'? <{BAR}Assistant{BAR}>\n\nYes")
        assert "well" not in text
        assert text.endswith(f"Sure?<{BAR}Assistant{BAR}><think>\n")


@pytest.mark.parametrize("calling", [{}, {"content": None}])
def test_a_template_that_asks_for_none_gets_it(calling: Message) -> None:
    chat = [CHAT[0], {"role": "assistant", "tool_calls": [CALL], **calling}]
    text = of(R1).render([*chat, {"role": "tool", "content": "3"}])
    call = f'function<{BAR}tool▁sep{BAR}>f\n```json\n{{"x": "<é>"}}\n```<{BAR}tool▁call▁end{BAR}>'
    assert call in text
    assert text.endswith(f"3<{BAR}tool▁outputs▁end{BAR}>")


def test_other_templates_are_spared_the_word_none(peer: Callable[..., str]) -> None:
    chat = [CHAT[0], {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    text = of(QWEN2).render(chat)
    assert "None" not in text
    assert '"name": "f"' in text
    assert text == peer(QWEN2, chat, add_generation_prompt=True)


@pytest.mark.parametrize("source", ALL.values(), ids=ALL)
@pytest.mark.parametrize("ending", ["It is", "It is  ", "<think>\nIt"])
def test_a_message_is_continued_as_at_the_peer(
    peer: Callable[..., str], source: str, ending: str
) -> None:
    chat = [CHAT[0], {"role": "assistant", "content": ending}]
    ours = of(source).render(chat, add_generation_prompt=False, continue_final_message=True)
    assert ours == peer(source, chat, continue_final_message=True)
    assert ours.endswith(ending.rstrip() if source is LLAMA3 else ending)
    assert chat[1]["content"] == ending


def test_a_message_cannot_be_continued_and_followed() -> None:
    with pytest.raises(Contradiction, match="set one of them to false"):
        of(QWEN2).render(CHAT, continue_final_message=True)


@pytest.mark.parametrize("final", ["<think>a</think>b", None, [{"type": "text", "text": "a"}]])
def test_what_is_lost_cannot_be_continued(final: object) -> None:
    chat = [CHAT[0], {"role": "assistant", "content": final}]
    with pytest.raises(RequestError, match="continue"):
        of(R1).render(chat, add_generation_prompt=False, continue_final_message=True)


def test_the_clock_is_given() -> None:
    template = ChatTemplate(
        "{{ strftime_now('%d %b %Y') }}{{ bos_token is defined }}",
        bos_token=None,
        eos_token=None,
        clock=lambda: datetime(2026, 2, 3),
    )
    assert template.render(CHAT) == "03 Feb 2026False"


def test_json_is_not_escaped_for_html() -> None:
    source = "{{ tools | tojson(indent=2) }}"
    assert of(source).render(CHAT, tools=TOOLS).splitlines()[5] == (
        '''      "description": "Größer > 'x'"'''
    )


def test_what_a_template_refuses_is_said_in_one_line() -> None:
    with pytest.raises(RequestError, match=r"refuses these messages: Roles must alternate user/"):
        of(LLAMA3).render([CHAT[0], CHAT[0]])


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (None, "no chat template"),
        ("{% for %}", "does not parse: line 1"),
        ("\n\n{{ messages", "line 3"),
        ("{% endgeneration %}", "does not parse"),
        ("{{ x | no_such_filter }}", "does not parse: line 1: No filter named"),
    ],
)
def test_a_template_that_is_none(source: str | None, match: str) -> None:
    with pytest.raises(BadFile, match=match) as error:
        of(source)
    assert "\n" not in str(error.value)


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
BRANCHING = (
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}"
)
NESTED = "{% for x in messages recursive %}{{ loop(messages) }}{% endfor %}"


@pytest.mark.parametrize(
    ("source", "error", "match"),
    [
        (ENDLESS, BadFile, "more than 2,000,000 steps"),
        (BRANCHING, BadFile, "more than 2,000,000 steps"),
        (NESTED, RequestError, "RecursionError"),
        ("{% for i in range(9999) %}{{ range(9999)|list|length }}{% endfor %}", BadFile, "steps"),
        ("{{ 'a' * 10000000000 }}", BadFile, "more than 1,000,000 char"),
        ("{{ 3 * [messages] * 9999999 }}", BadFile, "product"),
        ("{{ 9 ** 99999999 }}", BadFile, "power"),
        (
            "{% set ns = namespace(n=9) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}"
            "{% endfor %}",
            BadFile,
            "product",
        ),
        ("{{ messages.__class__.__mro__ }}", BadFile, "unsafe"),
        ("{% set ns = namespace(__x=1) %}", BadFile, "underscore"),
        ("{% set ns = namespace(self=1) %}{% set ns._x = ns.self %}", BadFile, "underscore"),
        ("{{ messages.append(1) }}", BadFile, "must not"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", RequestError, "RecursionError"),
        ("{{ 'a' + messages }}", RequestError, "fails on these messages: TypeError"),
        ("{{ messages[0].nothing.more }}", RequestError, "UndefinedError"),
        ("{{ messages | tojson + 1 }}", RequestError, "TypeError"),
    ],
)
def test_a_template_that_does_harm_is_stopped(
    source: str, error: type[PenjingError], match: str
) -> None:
    template = of(source)
    start = time.process_time()
    with pytest.raises(error, match=match) as raised:
        template.render(CHAT)
    assert time.process_time() - start < 10
    assert type(raised.value) is error
    assert "\n" not in str(raised.value)


def test_the_count_of_steps_starts_anew() -> None:
    template = of("{% for i in range(400000) if i < 0 %}{% endfor %}{{ messages|length }}")
    with pytest.raises(RequestError, match="OverflowError"):
        template.render(CHAT)
    template = of("{% for a in range(4) %}{% for b in range(99999) %}{% endfor %}{% endfor %}ok")
    assert [template.render(CHAT) for _ in range(3)] == ["ok"] * 3


def test_loops_know_their_place() -> None:
    source = "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}"
    assert of(source).render(CHAT) == "1/3False 2/3False 3/3True "
    nested = "{% for x in xs recursive %}{{ x.n }}{{ loop(x.xs) if x.xs }}{% else %}-{% endfor %}"
    assert of(nested).render(CHAT, xs=[{"n": 1, "xs": [{"n": 2}]}]) == "12"
    assert of(nested).render(CHAT) == "-"


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([], "messages is empty"),
        ("hi", "messages is a str; it must be a list of objects"),
        ({"role": "user"}, "messages is a dict"),
        (["hi"], r"messages\[0\] is a str"),
        ([CHAT[0], {"content": "hi"}], r"messages\[1\] has no role"),
        ([{"role": 3, "content": "hi"}], r"messages\[0\] has no role"),
        ([{"role": "user", "content": 3}], r"content of messages\[0\] is a int"),
        ([{"role": "user", "content": ["hi"]}], r"content of messages\[0\]\[0\] is a str"),
    ],
)
def test_messages_have_a_shape(messages: Any, match: str) -> None:
    with pytest.raises(RequestError, match=match):
        of(QWEN2).render(messages)


def test_tools_have_a_shape_and_variables_no_name_taken() -> None:
    tools: Any = "f"
    taken: dict[str, Any] = {"messages": []}
    with pytest.raises(RequestError, match="tools is a str"):
        of(QWEN2).render(CHAT, tools=tools)
    with pytest.raises(RequestError, match="called messages"):
        of(QWEN2).render(CHAT, **taken)


def test_the_file_of_its_own_wins(write_checkpoint: Write) -> None:
    files: dict[str, object] = {"tokenizer_config.json": {"chat_template": "old"}}
    assert template_source(write_checkpoint(files)) == "old"
    files["chat_template.jinja"] = "new\n"
    assert template_source(write_checkpoint(files)) == "new\n"
    assert template_source(write_checkpoint({"tokenizer_config.json": {}})) is None
    assert template_source(write_checkpoint({})) is None


def test_of_named_templates_it_is_the_default(write_checkpoint: Write) -> None:
    named = [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]
    config: dict[str, object] = {"chat_template": named}
    assert template_source(write_checkpoint({"tokenizer_config.json": config})) == "b"
    for wrong in (named[:1], 3, ["a"]):
        files = {"tokenizer_config.json": {"chat_template": wrong}}
        with pytest.raises(BadFile, match="a template named default"):
            template_source(write_checkpoint(files))


def test_a_template_that_is_not_text(write_checkpoint: Write) -> None:
    folder = write_checkpoint({})
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(BadFile, match="cannot be read"):
        template_source(folder)
