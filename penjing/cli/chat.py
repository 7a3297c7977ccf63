"""``penjing chat``: talk with a checkpoint in the terminal, or through pipes."""

import argparse
import re
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from penjing.cli.answer import Answer, Json
from penjing.cli.terminal import Terminal, first_interrupt
from penjing.errors import (
    BadCommand,
    BadFile,
    BadQuantity,
    Contradiction,
    PenjingError,
    RequestError,
    UnknownName,
)
from penjing.units import format_bytes

if TYPE_CHECKING:  # torch takes seconds to import, and planning does without
    from penjing.engine.conversation import Conversation, Reply
    from penjing.engine.memory import EnginePlan

NAME = "chat"
HELP = (
    "talk with a checkpoint in the terminal, its thinking dimmed; or through pipes, a turn a line"
)

_COMMANDS = {
    "/help": "this list",
    "/reset": "forget the conversation",
    "/exit": "leave; so do Ctrl-D, and Ctrl-C twice (once, it stops the reply)",
}
_SAMPLED = {
    "temperature": (float, "0 takes the likeliest token, 1 leaves the model as it is"),
    "top_p": (float, "likeliest tokens to draw from, by their share of probability; 1 is all"),
    "top_k": (int, "likeliest tokens to draw from, by their number; 0 is all"),
    "seed": (int, "the same seed draws the same tokens (default: a new one each turn)"),
    "max_tokens": (int, "most of a reply, thinking included (default: to the context's end)"),
    "thinking_budget": (int, "most tokens of thinking; the block is then closed (default: any)"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Sampling is the checkpoint's own where nothing is said. Under --json there is one turn: "
        "--prompt, or all of standard input."
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a folder in Hugging Face format, or owner/name on its hub",
    )
    parser.add_argument("--prompt", metavar="TEXT", help="say this, print the reply, and exit")
    parser.add_argument("--system", metavar="TEXT", help="the message that goes before all others")
    sampling = parser.add_argument_group("sampling")
    for name, (kind, words) in _SAMPLED.items():
        flag = f"--{name.replace('_', '-')}"
        sampling.add_argument(flag, type=kind, metavar="N", help=words)
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--dtype", default="float32", help="float32 or bfloat16, of weights (default: float32)"
    )
    engine.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    engine.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help="tokens of a whole conversation (default: the model's, as far as memory goes)",
    )


def answer(arguments: argparse.Namespace) -> Answer:
    terminal = Terminal()
    text = _only_turn(arguments, terminal)
    is_announced = terminal.is_interactive and text is None
    try:
        conversation, plan = _open(arguments, terminal if is_announced else None)
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "penjing":
            raise
        why = " ".join(str(error).split())
        raise RequestError(
            f"to run a model takes more than to plan ({why}); pip install 'penjing[run]'"
        ) from None
    if conversation.is_plain:
        terminal.note(
            f"penjing chat: {arguments.checkpoint} has no chat template: the model goes on with "
            "each text as it is, and remembers none"
        )
    if text is None:
        return Answer(document=None, text="", exit_status=_talk(conversation, terminal))
    if arguments.json:
        reply = conversation.say(text, lambda *_: None)
        return Answer(document=_document(reply, plan, arguments.checkpoint), text="")
    _turn(conversation, terminal, text)
    return Answer(document=None, text="")


def _only_turn(arguments: argparse.Namespace, terminal: Terminal) -> str | None:
    """What is said once, and nothing else; None: turns are read as they come."""
    if arguments.prompt is not None or not arguments.json:
        text: str | None = arguments.prompt
        return text
    if terminal.is_interactive:
        raise BadCommand("--json prints one reply; give --prompt, or the text on standard input")
    text = terminal.rest()
    if not text.strip():
        raise BadCommand("standard input is empty; give --prompt, or the text on standard input")
    return text


def _open(
    arguments: argparse.Namespace, terminal: Terminal | None
) -> "tuple[Conversation, EnginePlan]":
    """With what it takes told to ``terminal``.

    What can be wrong without the weights is refused before they are read, which may take minutes.
    """
    from penjing.engine.conversation import Conversation
    from penjing.engine.engine import Engine
    from penjing.engine.sampling import Sampling
    from penjing.models.hub import checkpoint_folder

    given = {name: getattr(arguments, name) for name in _SAMPLED}
    said = {name: value for name, value in given.items() if value is not None}
    Sampling(**said)
    folder = checkpoint_folder(arguments.checkpoint)
    _check_words(folder, arguments.system)
    if terminal is not None:
        _announce(arguments, folder, terminal)
    engine = Engine.load(
        str(folder),
        device=arguments.device,
        dtype=arguments.dtype,
        max_length=arguments.max_length,
        max_sequences=1,
    )
    sampling = replace(engine.default_sampling, **said)
    return Conversation(engine, sampling, arguments.system), engine.plan


def _check_words(folder: Path, system: str | None) -> None:
    from penjing.models.chat_template import ChatTemplate, template_source

    if not (folder / "tokenizer.json").exists():
        raise BadFile(
            f"{folder} has no tokenizer.json, so the model has no words; take that of the original "
            "checkpoint"
        )
    source = template_source(folder)
    if source is not None:
        ChatTemplate(source, bos_token=None, eos_token=None)
    elif system is not None:
        raise Contradiction(f"--system needs a chat template, and {folder} has none; leave it out")


def _announce(arguments: argparse.Namespace, folder: Path, terminal: Terminal) -> None:
    """What the engine will take, computed as it will be when it loads."""
    from penjing.engine.load import plan_for, read_device, read_dtype
    from penjing.engine.memory import Limits
    from penjing.models.checkpoint import stored_config

    config = stored_config(folder)
    limits = Limits(max_length=arguments.max_length, max_sequences=1)
    device, dtype = read_device(arguments.device), read_dtype(arguments.dtype)
    plan = plan_for(config, dtype, device, limits)
    terminal.note(
        f"{config.name} on {device} in {arguments.dtype}: weights "
        f"{format_bytes(plan.weight_bytes)}, cache {format_bytes(plan.cache_bytes)} for a context "
        f"of {plan.max_length:,} tokens, at most {format_bytes(plan.peak_bytes)} in all; loading"
    )


def _talk(conversation: "Conversation", terminal: Terminal) -> int:
    """Until the user leaves; through a pipe, the exit status is that of the first failed turn."""
    failed = 0
    if terminal.is_interactive:
        terminal.note("/help lists what can be said beside text")
    for line in terminal.lines():
        text = line.removesuffix("\n")
        if text.strip() == "/exit":
            break
        try:
            _line(conversation, terminal, text)
        except PenjingError as error:
            terminal.note(f"penjing chat: {error}{_hint(conversation, error)}")
            failed = failed or error.exit_status
        except KeyboardInterrupt:
            if not terminal.is_interactive:
                raise
            break
    return 0 if terminal.is_interactive else failed


def _hint(conversation: "Conversation", error: PenjingError) -> str:
    is_long = isinstance(error, BadQuantity) and conversation.has_history
    return "; /reset forgets the conversation" if is_long else ""


def _line(conversation: "Conversation", terminal: Terminal, text: str) -> None:
    match text.strip():
        case "":
            return
        case "/help":
            terminal.note("\n".join(f"{name:8}{words}" for name, words in _COMMANDS.items()))
        case "/reset":
            conversation.reset()
        case word if terminal.is_interactive and re.fullmatch(r"/\w+", word):
            raise UnknownName("command", word, _COMMANDS)
        case _:
            _turn(conversation, terminal, text)


def _turn(conversation: "Conversation", terminal: Terminal, text: str) -> None:
    stoppable = terminal.is_interactive
    try:
        with first_interrupt() if stoppable else nullcontext(lambda: False) as is_stopped:
            reply = conversation.say(text, terminal.show, is_stopped)
    finally:
        terminal.end()
    match reply.completion.finish.value:
        case "length":
            terminal.note("(cut short: the limit of tokens is reached)")
        case "abort":
            terminal.is_leaving = True
            terminal.note("(stopped)")


def _document(reply: "Reply", plan: "EnginePlan", checkpoint: str) -> Json:
    made = reply.completion
    return {
        "checkpoint": checkpoint,
        "text": made.text,
        "thinking": reply.thinking,
        "answer": reply.answer,
        "finish": made.finish.value,
        "counts": {
            "prompt": len(made.prompt_ids),
            "cached": made.num_cached,
            "thinking": made.num_thinking,
            "answer": made.num_answer,
            "tags": made.num_tags,
        },
        "ttft_s": reply.ttft_s,
        "tokens_per_s": reply.tokens_per_s,
        "plan": {**asdict(plan), "peak_bytes": plan.peak_bytes},
    }
