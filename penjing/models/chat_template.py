"""Messages become the text a model was trained on, through the template its checkpoint brings.

Templates are Jinja by the conventions of Hugging Face: blocks are trimmed, ``raise_exception`` and
``strftime_now`` are there, ``tojson`` leaves HTML alone, loops may break, ``{% generation %}``
means nothing here. They are foreign code. They run in Jinja's immutable sandbox, which keeps them
off attributes, files and the messages themselves; loops and calls are counted on top, and repeated
text is bounded. What remains open is a text doubled by concatenation.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from penjing.errors import BadFile, Contradiction, RequestError
from penjing.models.hub import json_object

# A turn of a loop is one step. As many as these take a second or two; a long conversation takes a
# thousandth.
_MAX_STEPS = 2_000_000
_STEPS_OF_A_CALL = 20
_MAX_SIZE = 1_000_000
_REASONING = ("reasoning_content", "thinking", "reasoning")
_ASKS_FOR_NONE = re.compile(r"\bcontent['\"]?\]?\s+is\s+(not\s+)?none\b")
# Ends in a space, so that it shows whether the template strips what it is given.
_CUT_HERE = "\ue000continued\ue000 "


class ChatTemplate:
    """One template, parsed once.

    ``clock`` is what ``strftime_now`` reads. A missing source and one that does not parse are a
    ``BadFile``.
    """

    def __init__(
        self,
        source: str | None,
        *,
        bos_token: str | None,
        eos_token: str | None,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        if source is None:
            raise BadFile(
                "the checkpoint has no chat template; put a chat_template.jinja into its folder, "
                "or send a prompt instead of messages"
            )
        tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._tokens = {name: token for name, token in tokens.items() if token is not None}
        self._clock = clock
        self._asks_for_none = _ASKS_FOR_NONE.search(source) is not None
        try:
            self._code = _Sandbox(clock).compile(source)
        except TemplateSyntaxError as error:
            raise BadFile(
                f"the chat template does not parse: line {error.lineno}: {error.message}; take it "
                "from the original checkpoint"
            ) from None
        except (TemplateError, RecursionError) as error:
            raise BadFile(f"the chat template does not compile: {_line(error)}") from None

    def render(
        self,
        messages: Sequence[Mapping[str, object]],
        /,
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, object]] | None = None,
        continue_final_message: bool = False,
        **variables: object,
    ) -> str:
        """The text to encode with ``Tokenizer.encode_rendered``; ``variables`` reach the template.

        ``continue_final_message`` leaves the last message open for the model to write on. Raises
        ``RequestError`` for messages of a wrong shape and for those that the template refuses,
        ``Contradiction`` for a message both continued and followed by a new one, and ``BadFile``
        for a template that breaks out of the sandbox or does not end.
        """
        if continue_final_message and add_generation_prompt:
            raise Contradiction(
                "continue_final_message and add_generation_prompt are both true; a message is "
                "continued or a new one begun, set one of them to false"
            )
        if "messages" in variables:
            raise RequestError("a variable of the chat template is called messages; rename it")
        given = [self._message(m, at) for at, m in enumerate(_objects(messages, "messages"))]
        if not given:
            raise RequestError("messages is empty; send at least one message")
        final = _text_of(given[-1]) if continue_final_message else None
        if final is not None:
            given[-1]["content"] = final + _CUT_HERE
        text = self._run(
            {
                "documents": None,
                **self._tokens,
                **variables,
                "messages": given,
                "tools": None if tools is None else _objects(tools, "tools"),
                "add_generation_prompt": add_generation_prompt,
            }
        )
        return text if final is None else _cut(text, final)

    def _run(self, variables: Mapping[str, object]) -> str:
        sandbox = _Sandbox(self._clock)
        try:
            template = Template.from_code(sandbox, self._code, sandbox.make_globals(None))
            return template.render(variables)
        except _Refused as error:
            reason = _line(error)
            raise RequestError(f"the chat template refuses these messages: {reason}") from None
        except SecurityError as error:
            raise BadFile(
                f"the chat template does what it must not: {_line(error)}; take it from the "
                "original checkpoint"
            ) from None
        # A template computes with what it is given, so any error can come out of it.
        except Exception as error:
            raise RequestError(
                f"the chat template fails on these messages: {type(error).__name__}: "
                f"{_line(error)}; check their fields"
            ) from None

    def _message(self, given: Mapping[str, object], at: int) -> dict[str, object]:
        """One message with its reasoning under every name in use.

        Keys without a value are left out, as most templates would print the word None. Those that
        ask whether the content is none (R1's, of a message with tool calls) get the None.
        """
        _check(given, at)
        message = {key: value for key, value in given.items() if value is not None}
        if self._asks_for_none and message["role"] == "assistant":
            message.setdefault("content", None)
        reasoning = next((message[key] for key in _REASONING if key in message), None)
        if reasoning is not None:
            message = {"thinking": reasoning, **message, "reasoning_content": reasoning}
        return message


def template_source(folder: Path) -> str | None:
    """The template of a checkpoint: ``chat_template.jinja``, or what tokenizer_config.json has.

    Of several named templates it is ``default``. None where there is none; ``BadFile``.
    """
    file = folder / "chat_template.jinja"
    if file.exists():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(f"{file} cannot be read: {error}; repair or remove it") from None
    found = (json_object(folder, "tokenizer_config.json") or {}).get("chat_template")
    match found:
        case None | str():
            return found
        case list():
            named = {t.get("name"): t.get("template") for t in found if isinstance(t, Mapping)}
            default = named.get("default")
            if isinstance(default, str):
                return default
    raise BadFile(
        f"chat_template in {folder / 'tokenizer_config.json'} is neither a string nor a list with "
        "a template named default; put the right one into chat_template.jinja beside it"
    )


class _Refused(TemplateError):
    """The template called ``raise_exception``."""


class _Generation(Extension):
    """``{% generation %}`` marks what a model wrote, for training; its body is a scope like any."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Names(Namespace):
    """A namespace without names that Python itself may look up."""

    def __init__(*args: Any, **names: Any) -> None:  # a template may pass a name called self
        first = dict(*args[1:], **names)
        if any(str(name).startswith("_") for name in first):
            raise SecurityError("a namespace with a name that begins with an underscore")
        Namespace.__init__(args[0], first)

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError("a namespace with a name that begins with an underscore")
        super().__setitem__(name, value)


class _CountingLoops(CodeGenerator):
    """Every loop goes over ``items | _counted``."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:
        for loop in list(node.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        super().visit_Template(node, frame)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Made anew for each rendering: it holds the count of steps."""

    code_generator_class = _CountingLoops
    intercepted_binops = frozenset({"*", "**"})

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
        )
        self._steps = 0
        self.filters.update(tojson=_to_json, _counted=self._counted)
        self.globals.update(
            namespace=_Names,
            raise_exception=_refuse,
            strftime_now=lambda form: clock().strftime(form),
        )

    def call(
        __self,  # as in the base class: a template may pass a keyword called self
        __context: Context,
        __obj: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        __self._count(_STEPS_OF_A_CALL)
        found = super().call(__context, __obj, *args, **kwargs)
        if isinstance(found, range):
            __self._count(len(found))
        return found

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if _size(operator, left, right) > _MAX_SIZE:
            raise SecurityError(f"a product or power of more than {_MAX_SIZE:,} characters")
        return super().call_binop(context, operator, left, right)

    def _counted(self, items: Iterable[object]) -> Iterator[object]:
        for item in items:
            self._count(1)
            yield item

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _MAX_STEPS:
            raise SecurityError(f"more than {_MAX_STEPS:,} steps")


def _size(operator: str, left: object, right: object) -> int:
    """Characters, items or bits of a product or power; 0 for those that cannot grow large."""
    match operator, left, right:
        case "**", int(), int():
            return left.bit_length() * max(right, 0)
        case "*", int(), int():
            return left.bit_length() + right.bit_length()
        case ("*", str() | list() | tuple() as items, int() as times) | (
            "*",
            int() as times,
            str() | list() | tuple() as items,
        ):
            return len(items) * max(times, 0)
    return 0


def _refuse(message: object) -> NoReturn:
    raise _Refused(str(message))


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _objects(value: object, what: str) -> list[Mapping[str, object]]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise RequestError(f"{what} is a {type(value).__name__}; it must be a list of objects")
    for at, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise RequestError(f"{what}[{at}] is a {type(item).__name__}; it must be an object")
    return list(value)


def _check(message: Mapping[str, object], at: int) -> None:
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not role:
        raise RequestError(f"messages[{at}] has no role; give one, such as user or assistant")
    if content is not None and not isinstance(content, str):
        _objects(content, f"content of messages[{at}]")


def _text_of(message: Mapping[str, object]) -> str:
    content = message.get("content")
    if not isinstance(content, str):
        raise RequestError("the final message has no text to continue; make its content a string")
    return content


def _cut(text: str, final: str) -> str:
    """The text up to the mark; a template that stripped the mark would have stripped the text."""
    at = text.rfind(_CUT_HERE.rstrip())
    if at < 0 or final.strip() not in text:
        raise RequestError(
            "the chat template drops part of the final message, so that it cannot be continued; "
            "send a prompt instead of messages"
        )
    return text[:at] if text.startswith(_CUT_HERE, at) else text[:at].rstrip()


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
