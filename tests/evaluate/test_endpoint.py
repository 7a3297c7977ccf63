"""A real server on loopback that speaks the protocol, well and badly; the client is OpenAI's."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from penjing.errors import RequestError
from penjing.evaluate.endpoint import EndpointGenerator, EndpointSampling
from penjing.evaluate.generator import Ask, Missing, Reply
from penjing.tasks.task import Task
from penjing.tasks.template import Style

USAGE = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}


class Server(ThreadingHTTPServer):
    """``script`` has what to do with each request in turn; then all is well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.message: dict[str, Any] = {"role": "assistant", "content": "hello"}
        self.finish_reason = "stop"
        self.usage: Any = USAGE
        self.models = ["only"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        models = [
            {"id": m, "object": "model", "created": 0, "owned_by": "x"} for m in self.server.models
        ]
        self._send(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        match self.server.script.pop(0) if self.server.script else "":
            case "busy":
                self._send(429, {"error": {"message": "busy"}}, {"Retry-After": "0"})
            case "broken":
                self._send(500, {"error": {"message": "broken"}}, {"Retry-After": "0"})
            case "bad":
                self._send(400, {"error": {"message": "too long"}})
            case "garbage":
                self._raw(200, b"<html>", {})
            case "empty":
                self._send(200, {"choices": []})
            case "drop":
                self.connection.close()
            case _:
                self._send(200, self._done())

    def _done(self) -> dict[str, Any]:
        server = self.server
        choice: dict[str, Any] = {"index": 0, "finish_reason": server.finish_reason}
        if "completions" in self.path and "chat" not in self.path:
            choice |= {"text": server.message["content"], "logprobs": None}
        else:
            choice |= {"message": server.message}
        return {"id": "1", "object": "x", "created": 0, "model": "only", "choices": [choice],
                "usage": server.usage}  # fmt: skip

    def _send(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self._raw(status, json.dumps(body).encode(), headers or {})

    def _raw(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


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


@pytest.mark.parametrize("script", [["busy"], ["broken", "busy"], ["drop"]])
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
        (["garbage"], ""),
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
