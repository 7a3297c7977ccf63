"""A real server on loopback that speaks the protocol, well and badly; the client is OpenAI's."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from penjing.errors import BadCommand, RequestError
from penjing.evaluate.endpoint import EndpointGenerator, EndpointSampling, public
from penjing.evaluate.generator import Ask, Missing, Reply
from penjing.tasks.task import Task
from penjing.tasks.template import Style
from tests.evaluate.endpoint_server import USAGE, Server


def generator(server: Server, task: Task, retries: int = 2, **sampled: Any) -> EndpointGenerator:
    return EndpointGenerator(
        server.url,
        "sesame",
        task,
        EndpointSampling(**sampled),
        concurrency=2,
        retries=retries,
        timeout_s=10,
    )


def replies(made: EndpointGenerator, task: Task) -> list[Reply | Missing]:
    asks = [Ask(problem=p, index=0, seed=5) for p in task.problems(None)]
    found = sorted(made.replies(asks), key=lambda one: one.ask.problem.id)
    made._client.close()
    return found


def test_messages_are_asked_as_a_chat(server: Server, task: Callable[..., Task]) -> None:
    chat = task(["ab"], style=Style.R1)
    made = generator(server, chat, temperature=0.5, max_tokens=7, extra={"top_k": 3})
    (reply,) = replies(made, chat)
    assert isinstance(reply, Reply)
    assert reply.response == "hello"
    assert (reply.num_prompt_tokens, reply.num_tokens, reply.num_thinking_tokens) == (5, 9, None)
    (body,) = server.bodies
    assert body["messages"][0]["content"].startswith("ab\nPlease reason")
    assert (body["seed"], body["temperature"], body["max_tokens"], body["top_k"]) == (5, 0.5, 7, 3)
    assert (body["model"], "top_p" in body) == ("only", False)
    assert server.keys == ["Bearer sesame"]


def test_text_is_asked_as_a_completion(server: Server, task: Callable[..., Task]) -> None:
    plain = task(["ab <think>"])
    (reply,) = replies(generator(server, plain), plain)
    assert isinstance(reply, Reply)
    assert reply.begins_in_thinking
    assert server.bodies[0]["prompt"] == "ab <think>"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize(
    ("content", "finish", "response"),
    [
        ("42", "stop", "<think>hm</think>42"),
        ("", "length", "<think>hm"),
        (None, "stop", "<think>hm</think>"),
    ],
)
def test_thinking_gets_its_tags_back(
    server: Server,
    task: Callable[..., Task],
    name: str,
    content: str | None,
    finish: str,
    response: str,
) -> None:
    server.message = {"role": "assistant", "content": content, name: "hm"}
    server.finish_reason = finish
    server.usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 4}}
    chat = task(["ab"], style=Style.R1)
    (reply,) = replies(generator(server, chat), chat)
    assert isinstance(reply, Reply)
    assert reply.response == response
    assert reply.finish_reason == finish
    assert reply.num_thinking_tokens == 4


@pytest.mark.parametrize(
    "usage",
    [None, {}, {**USAGE, "completion_tokens_details": {"reasoning_tokens": 99}}],
)
def test_nonsense_about_tokens_loses_no_sample(
    server: Server, task: Callable[..., Task], usage: Any
) -> None:
    server.usage = usage
    (reply,) = replies(generator(server, task(["ab"])), task(["ab"]))
    assert isinstance(reply, Reply)
    assert reply.num_thinking_tokens is None


@pytest.mark.parametrize("script", [["busy"], ["broken", "busy"], ["drop"], ["cut"]])
def test_what_passes_is_tried_again(
    server: Server, task: Callable[..., Task], script: list[str]
) -> None:
    server.script = list(script)
    (reply,) = replies(generator(server, task(["ab"])), task(["ab"]))
    assert isinstance(reply, Reply)
    assert len(server.bodies) == len(script) + 1


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (["busy"] * 3, "RateLimitError"),
        (["broken"] * 3, "InternalServerError"),
        (["bad"], "too long"),
        (["empty"], "IndexError"),
        (["garbage"], "JSONDecodeError"),
        (["deep"], ""),
    ],
)
def test_what_fails_for_good_is_missing_and_the_rest_goes_on(
    server: Server, task: Callable[..., Task], script: list[str], reason: str
) -> None:
    one = task(["ab"])
    made = generator(server, one)
    server.script = list(script)
    asks = [Ask(problem=p, index=0, seed=5) for p in one.problems(None)]
    (missing,) = made.replies(asks)
    assert isinstance(missing, Missing)
    assert reason in missing.reason
    assert "\n" not in missing.reason
    assert "sesame" not in missing.reason
    (reply,) = replies(made, one)
    assert isinstance(reply, Reply)


def test_the_only_model_is_taken_and_several_are_named(
    server: Server, task: Callable[..., Task]
) -> None:
    assert generator(server, task()).model == "only"
    server.models = ["a", "b"]
    with pytest.raises(RequestError, match="has 2 models; name one of a, b"):
        generator(server, task())
    with pytest.raises(RequestError, match="does not say which models it has"):
        EndpointGenerator(
            "http://127.0.0.1:9/v1", "x", task(), EndpointSampling(), retries=0, timeout_s=1
        )


@pytest.mark.parametrize(
    "message",
    [{"content": ["42"]}, {"content": "42", "reasoning": {"text": "hm"}}, {"content": 42}],
)
def test_what_is_no_text_is_missing(
    server: Server, task: Callable[..., Task], message: dict[str, Any]
) -> None:
    server.message = {"role": "assistant", **message}
    chat = task(["ab"], style=Style.R1)
    (missing,) = replies(generator(server, chat), chat)
    assert isinstance(missing, Missing)
    assert "which is no text" in missing.reason


def test_who_leaves_early_waits_for_nothing(server: Server, task: Callable[..., Task]) -> None:
    server.script = ["", "wait", "wait"]
    many = task(["ab"] * 9)
    asks = [Ask(problem=p, index=0, seed=5) for p in many.problems(None)]
    made = generator(server, many)
    found = made.replies(asks)
    next(found)
    assert server.is_waiting.wait(10)
    began = time.monotonic()
    found.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 10
    assert len(server.bodies) < len(asks)
    server.may_go_on.set()


def test_an_address_has_no_password_when_it_is_told() -> None:
    assert public("http://me:secret@host:8000/v1") == "http://host:8000/v1"
    assert public("https://host/v1") == "https://host/v1"
    for wrong in ("host:8000", "http://", "ftp://host", "http://[", "http://host:x"):
        with pytest.raises(BadCommand, match="is no address such as"):
            public(wrong)
