"""Talking with a checkpoint whose next token depends on the last one alone, so that it is known."""

import errno
import io
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from penjing.cli import main
from penjing.models.catalogue import load_model
from penjing.models.decoder import Decoder
from penjing.models.saving import save_checkpoint

SPECIAL = ("<think>", "</think>", "<eos>")
# After each token the next: thinking and an answer; or l for ever.
NEXT = ("<think>", "h", "m", "</think>", "\n", "Y", "o", "<eos>"), ("L", "l", "L")
TEMPLATE = """
{%- for m in messages %}
    {%- if m.content == 'no' %}{{ raise_exception('not that') }}{% endif %}
    {{- m.role + ':' + m.content.split('</think>')[-1] + '\\n' }}
{%- endfor %}
{{- 'L' if messages[-1].content == 'loop' else '<think>' }}"""
CONFIG = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "vocab_size": 264,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "torch_dtype": "float32",
}
Say = Callable[..., tuple[int, str, str]]


def words() -> tokenizers.Tokenizer:
    """A token a byte, and the special ones."""
    made = tokenizers.Tokenizer(
        BPE({letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}, [])
    )
    made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    made.decoder = ByteLevelDecoder()
    made.add_tokens(list(SPECIAL))
    return made


def fill(decoder: Decoder, tokenizer: tokenizers.Tokenizer) -> None:
    """Layers add nothing, embeddings are nearly orthogonal, and the head knows what comes next."""
    assert decoder.head is not None
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        signs = torch.randint(0, 2, decoder.embedding.shape, generator=generator)
        decoder.embedding.copy_(signs * 2.0 - 1)
        for chain in NEXT:
            ids = [tokenizer.encode(token).ids[0] for token in chain]
            for last, following in pairwise(ids):
                decoder.head[following] += decoder.embedding[last]


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    tokenizer = words()
    files = {
        "config.json": CONFIG,
        "generation_config.json": {"do_sample": False, "eos_token_id": 258},
        "tokenizer_config.json": {"eos_token": "<eos>"},
    }
    for name, content in files.items():
        (source / name).write_text(json.dumps(content), encoding="utf-8")
    (source / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    (source / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    config = load_model(source)
    decoder = Decoder(config)
    fill(decoder, tokenizer)
    save_checkpoint(source / "talker", decoder, config, source)
    return source / "talker"


@pytest.fixture
def copy(talker: Path, tmp_path: Path) -> Path:
    """The checkpoint, to be changed."""
    return Path(shutil.copytree(talker, tmp_path / "copy"))


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs the verb with that standard input: exit status, standard output, standard error."""

    def run(folder: Path, *flags: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = main(["chat", str(folder), *flags])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def document(said: tuple[int, str, str]) -> dict[str, Any]:
    status, out, _ = said
    found = json.loads(out)
    assert (status, isinstance(found, dict)) == (0, True)
    return dict(found)


def test_one_turn_is_one_document(talker: Path, say: Say) -> None:
    status, out, err = say(talker, "--prompt", "hi", "--json", "--max-length", "100")
    found = document((status, out, err))
    assert err == ""
    assert found["text"] == "hm</think>\nYo"
    assert (found["thinking"], found["answer"], found["finish"]) == ("hm", "Yo", "stop")
    assert found["counts"] == {"prompt": 9, "cached": 0, "thinking": 2, "answer": 4, "tags": 1}
    assert found["tokens_per_s"] > 0
    assert found["ttft_s"] > 0
    assert found["plan"]["max_length"] == 100
    assert found["plan"]["peak_bytes"] > found["plan"]["weight_bytes"] > 0


def test_a_document_takes_all_of_standard_input(talker: Path, say: Say) -> None:
    found = document(say(talker, "--json", stdin="a\n/exit\n\nb\n"))
    assert found["counts"]["prompt"] == len("user:a\n/exit\n\nb\n") + 1


def test_a_document_needs_something_to_answer(talker: Path, say: Say) -> None:
    status, out, err = say(talker, "--json", stdin="\n")
    assert (status, json.loads(out)["error"]["type"]) == (2, "BadCommand")
    assert err.startswith("penjing chat: standard input is empty; give --prompt, ")


def test_lines_are_turns_and_only_answers_go_to_standard_output(talker: Path, say: Say) -> None:
    thought = "<think>\nhm\n</think>\n"
    assert say(talker, stdin="hi\n  \n/bye") == (0, "Yo\nYo\n", thought * 2)


def test_one_turn_streams(talker: Path, say: Say) -> None:
    assert say(talker, "--prompt", "hi")[:2] == (0, "Yo\n")


def test_a_failed_turn_is_told_and_the_rest_goes_on(talker: Path, say: Say) -> None:
    status, out, err = say(talker, stdin="no\nhi\n")
    assert (status, out) == (2, "Yo\n")
    assert err.startswith("penjing chat: the chat template refuses these messages: not that\n")


def test_a_conversation_that_grew_too_long_can_be_forgotten(talker: Path, say: Say) -> None:
    status, out, err = say(
        talker, "--max-length", "30", stdin=f"hi\n{'x' * 20}\n/reset\nhi\n/exit\nhi\n"
    )
    assert (status, out) == (2, "Yo\nYo\n")
    (told,) = [line for line in err.splitlines() if line.startswith("penjing chat: ")]
    assert told.startswith("penjing chat: the prompt has ")
    assert told.endswith("; /reset forgets the conversation")


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("keyboard", "status"), [(Keyboard, 0), (io.StringIO, 130)])
def test_an_interrupt_that_is_not_caught_leaves(
    keyboard: type[io.StringIO],
    status: int,
    talker: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("penjing.engine.conversation.Conversation.say", interrupted)
    monkeypatch.setattr(sys, "stdin", keyboard("hi\nhi\n"))
    assert main(["chat", str(talker)]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert ("interrupted" in err) is (status == 130)
    assert err.startswith("talker on cpu in float32: weights 1.2 MiB, cache ") is (status == 0)


def test_help_and_a_reply_cut_short(talker: Path, say: Say) -> None:
    status, out, err = say(talker, "--max-tokens", "3", stdin="/help\nloop\n")
    assert (status, out) == (0, "lLl\n")
    assert "/reset  forget the conversation\n" in err
    assert err.endswith("(cut short: the limit of tokens is reached)\n")


def test_the_system_message_leads(talker: Path, say: Say) -> None:
    with_one = document(say(talker, "--json", "--system", "Be brief", "--prompt", "hi"))
    assert with_one["counts"]["prompt"] == len("system:Be brief\nuser:hi\n") + 1


def test_thinking_has_a_budget(talker: Path, say: Say) -> None:
    found = document(say(talker, "--json", "--prompt", "hi", "--thinking-budget", "1"))
    assert (found["thinking"], found["answer"]) == ("", "Yo")
    assert found["counts"]["thinking"] == 1


def test_what_is_said_goes_before_what_the_checkpoint_advises(talker: Path, say: Say) -> None:
    flags = ("--json", "--prompt", "hi", "--temperature", "1000", "--max-tokens", "8")
    texts = [document(say(talker, *flags, "--seed", seed))["text"] for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]
    cut = document(say(talker, *flags, "--top-k", "1"))
    assert cut["answer"] == "Yo"


def test_without_a_template_texts_are_completed(copy: Path, say: Say) -> None:
    (copy / "chat_template.jinja").unlink()
    status, out, err = say(copy, "--max-tokens", "5", stdin="a L\n<think>\n")
    assert (status, out) == (0, "lLlLl\nY\n")
    assert err.startswith(f"penjing chat: {copy} has no chat template: the model goes on with ")
    status, _, err = say(copy, "--system", "Be brief", "--prompt", "hi")
    assert status == 2
    assert err.startswith("penjing chat: --system needs a chat template, and ")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--temperature", "-1"), "temperature is -1.0: must be "),
        (("--top-p", "x"), "argument --top-p: invalid float value: 'x'; "),
        (("--max-length", "0"), "max_length is 0; it must be at least 1"),
        (("--max-length", "9000"), "max_length is 9000, but talker has 8192 positions"),
        (("--dtype", "int4"), "unknown dtype 'int4'; "),
        (("--device", "tpu"), "unknown device 'tpu'; "),
    ],
)
def test_wrong_flags_are_one_line(
    flags: tuple[str, ...], line: str, talker: Path, say: Say
) -> None:
    status, out, err = say(talker, *flags, "--prompt", "hi")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"penjing chat: {line}")


def spoil_tokenizer(folder: Path) -> None:
    broken = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps({**broken, "pre_tokenizer": None}), "utf-8")


def widen_context(folder: Path) -> None:
    raw = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**raw, "max_position_embeddings": 10**9}))


def spoil_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% if %}", "utf-8")


@pytest.mark.parametrize(
    ("spoil", "status", "line"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), 2, "has no tokenizer.json, so "),
        (lambda folder: (folder / "model.safetensors").unlink(), 2, ""),
        (spoil_tokenizer, 2, "its vocabulary is byte-level, but its pre-tokenizer is missing"),
        (spoil_template, 2, "the chat template does not parse: "),
        (widen_context, 1, " GiB free memory 90% may be used; nearest that fits: "),
        (shutil.rmtree, 2, "does not exist; give the folder of a checkpoint"),
    ],
)
def test_a_checkpoint_that_does_not_load_is_one_line(
    spoil: Callable[[Path], None], status: int, line: str, copy: Path, say: Say
) -> None:
    spoil(copy)
    flags = ("--max-length", str(10**9)) if spoil is widen_context else ()
    said, out, err = say(copy, *flags, stdin="hi\n")
    assert (said, out, err.count("\n")) == (status, "", 1)
    assert line in err


def test_a_budget_for_thinking_needs_tags(copy: Path, say: Say) -> None:
    file = copy / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace("think>", "thunk>"), "utf-8")
    status, _, err = say(copy, "--thinking-budget", "5", "--prompt", "hi")
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith("penjing chat: a thinking budget needs single tokens <think> and ")


def test_without_torch_it_says_what_to_install(talker: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from penjing.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "chat", str(talker), "--prompt", "hi"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.endswith("; pip install 'penjing[run]'\n")


class Window:
    """A terminal with the verb in it."""

    def __init__(self, folder: Path) -> None:
        self._seen = ""
        self._is_open = True
        self.pid, self._side = pty.fork()
        if self.pid == 0:
            os.environ.pop("NO_COLOR", None)
            os.environ["TERM"] = "dumb"
            os.execv(sys.executable, [sys.executable, "-m", "penjing", "chat", str(folder)])

    def type(self, text: str) -> None:
        os.write(self._side, text.encode())

    def until(self, awaited: str) -> str:
        """All from where it was last asked to the end of what is awaited."""
        end_s = time.monotonic() + 60
        while awaited not in self._seen:
            assert time.monotonic() < end_s, f"{awaited!r} never came: {self._seen!r}"
            self._is_silent_for(0.2)
            assert self._is_open, f"left before {awaited!r}: {self._seen!r}"
        before, _, self._seen = self._seen.partition(awaited)
        return before + awaited

    def interrupt(self, awaited: str = "") -> None:
        """Ctrl-C at a prompt, until what is awaited is seen, or the program has left.

        Pressed again after a silence: Python shows its prompt just before it waits for a line, and
        a signal between the two is kept until the next one wakes it.
        """
        for _ in range(12):
            self.type("\x03")
            while not (awaited and awaited in self._seen) and not self._is_silent_for(5):
                if not self._is_open:
                    return
            if awaited and awaited in self._seen:
                self.until(awaited)
                return
        raise AssertionError(f"{awaited!r} never came: {self._seen!r}")

    def status(self) -> int:
        """The exit status of a program that has left."""
        assert not self._is_open
        os.close(self._side)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _is_silent_for(self, time_s: float) -> bool:
        if not self._is_open or not select.select([self._side], [], [], time_s)[0]:
            return True
        try:
            self._seen += os.read(self._side, 1024).decode().replace("\r", "")
        except OSError as error:
            assert error.errno == errno.EIO  # noqa: PT017 - the other side is closed
            self._is_open = False
        return False


def test_a_terminal_dims_thinking_and_ctrl_c_stops_then_leaves(talker: Path) -> None:
    window = Window(talker)
    opened = window.until("> ")
    assert "talker on cpu in float32: weights " in opened
    assert "for a context of 8,192 tokens" in opened
    window.type("hi\n")
    assert "\x1b[2mhm\x1b[0m\n\nYo\n> " in window.until("\n> ")
    window.type("no\n")
    assert "refuses these messages: not that" in window.until("\n> ")
    window.type("/bye\n")
    assert "unknown command '/bye'; " in window.until("\n> ")
    window.type("loop\n")
    window.until("lLlL")
    window.type("\x03")
    window.until("\n(stopped)\n> ")
    window.type("hi\n")
    window.until("Yo\n> ")
    window.interrupt("Ctrl-C once more leaves; so do Ctrl-D and /exit\n> ")
    window.interrupt()
    assert window.status() == 0
