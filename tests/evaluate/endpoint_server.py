"""A real server on loopback that speaks OpenAI's protocol, well and badly."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

USAGE = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}


class Server(ThreadingHTTPServer):
    """``script`` has what to do with each request in turn; then all is well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[str] = []
        self.is_waiting, self.may_go_on = threading.Event(), threading.Event()
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
                self._send(
                    400, {"error": {"message": f"too long, {self.headers['Authorization']}"}}
                )
            case "garbage":
                self._raw(200, b"<html>", {})
            case "empty":
                self._send(200, {"choices": []})
            case "drop":
                self.connection.close()
            case "cut":
                self._raw(200, b"{", {"Content-Length": "999"})
            case "deep":
                self._raw(200, b"[" * 100_000, {})
            case "wait":
                self.server.is_waiting.set()
                self.server.may_go_on.wait(20)
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
        plain = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in {**plain, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.may_go_on.set()
    made.shutdown()
    made.server_close()
    thread.join()
