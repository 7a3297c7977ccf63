import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from penjing.errors import BadFile
from penjing.models import hub
from penjing.models.hub import checkpoint_folder, json_object

COMMIT = "a" * 40
FILES = {
    "config.json": b"{}",
    "model-00001-of-00001.safetensors": b"tensors",
    "chat_template.jinja": b"{{ messages }}",
    "tokenizer.model": b"pieces",
    "merges.txt": b"a b",
    "pytorch_model.bin": b"pickle",
    "modeling_own.py": b"code",
    "consolidated.safetensors": b"tensors",
    "original/params.json": b"{}",
    "README.md": b"prose",
}
ASK = """
import sys
from penjing.errors import BadFile
from penjing.models.hub import checkpoint_folder
for name in sys.argv[1:]:
    try:
        print("found", checkpoint_folder(name))
    except BadFile as error:
        print("error", error)
"""


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as fetching one small model takes."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/some/model/tree/"):
            self.answer(
                json.dumps(
                    [
                        {"type": "file", "path": p, "size": len(b), "oid": sha1(b).hexdigest()}
                        for p, b in FILES.items()
                    ]
                ).encode()
            )
        elif path.startswith("/api/models/some/model"):
            model = {"id": "some/model", "sha": COMMIT, "siblings": []}
            self.answer(json.dumps(model).encode())
        elif path.startswith(f"/some/model/resolve/{COMMIT}/"):
            self.answer(FILES[path.split("/", 5)[5]])
        elif "gated" in path:
            self.answer(b"", status=403, code="GatedRepo")
        else:
            self.answer(b"", status=404, code="RepoNotFound")

    def answer(self, body: bytes, status: int = 200, code: str = "") -> None:
        self.send_response(status)
        headers = {"ETag": f'"{sha1(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        for key, value in {**headers, "X-Error-Code": code, "Content-Length": len(body)}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def ask(home: Path, *names: str, **more: str) -> list[str]:
    """Lines that a process of its own answers; huggingface_hub reads its variables once."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*", **more}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.splitlines()


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "some" / "model"
    folder.mkdir(parents=True)
    assert checkpoint_folder(str(folder)) == folder
    monkeypatch.chdir(tmp_path)
    assert checkpoint_folder("some/model") == Path("some/model")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert checkpoint_folder("~/some/model") == folder


@pytest.mark.parametrize(
    "name",
    ["nowhere", "", "./no/where", "/no/where", "a/b/c", "no/where/", "../no", "a b/c", "a\0/b"],
)
def test_a_path_that_is_not_there(name: str) -> None:
    with pytest.raises(BadFile, match="does not exist; give the folder of a checkpoint") as error:
        checkpoint_folder(name)
    assert "\n" not in str(error.value)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text("{}")
    with pytest.raises(BadFile, match="is a file; give the folder"):
        checkpoint_folder(str(file))


@pytest.mark.parametrize("how", ["switched off", "no answer"])
def test_without_a_network_it_says_so_in_one_line_or_takes_a_copy(tmp_path: Path, how: str) -> None:
    kept = tmp_path / "hub" / "models--kept--model"
    snapshot = kept / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT)
    (snapshot / "config.json").write_text("{}")
    off = how == "switched off"
    more = {"HF_HUB_OFFLINE": "1"} if off else {"HF_ENDPOINT": closed_port()}
    assert ask(tmp_path, "no/where", "kept/model", **more) == [
        "error no/where is not a folder here, and the Hugging Face hub cannot be reached; give "
        "the folder of a checkpoint, set HF_HOME to a cache that holds a copy, or unset "
        "HF_HUB_OFFLINE where it is set",
        f"found {snapshot}",
    ]


def test_what_a_checkpoint_needs_is_fetched_and_nothing_else(tmp_path: Path, server: str) -> None:
    found, missing, gated = ask(
        tmp_path, "some/model", "no/where", "gated/model", HF_ENDPOINT=server
    )
    folder = Path(found.removeprefix("found "))
    names = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
    assert names == set(list(FILES)[:5])
    assert all((folder / name).read_bytes() == FILES[name] for name in names)
    assert missing.startswith("error no/where is neither a folder here nor a public model")
    assert gated.startswith("error gated/model on the Hugging Face hub is open only to those who")
    assert ask(tmp_path, "some/model", HF_HUB_OFFLINE="1") == [found]


def test_a_hub_that_accepts_and_says_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(hub, "_PATIENCE_SECONDS", 0.1)
        with pytest.raises(BadFile, match="hub cannot be reached"):
            checkpoint_folder("no/where")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BadFile, match="takes the package huggingface_hub; install that, or give"):
        checkpoint_folder("no/where")


def test_an_object_is_read_from_json(tmp_path: Path) -> None:
    assert json_object(tmp_path, "config.json") is None
    file = tmp_path / "config.json"
    file.write_text('{"a": "é"}', encoding="utf-8")
    assert json_object(tmp_path, "config.json") == {"a": "é"}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"{", "not usable JSON"),
        (b"\xff", "not usable JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not usable JSON"),
        (b"[" * 100_000, "not usable JSON"),
        (b"[1]", "holds a list; it must hold one object"),
    ],
)
def test_a_file_that_holds_no_object(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(BadFile, match=match):
        json_object(tmp_path, "config.json")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(BadFile, match="cannot be read: Is a directory"):
        json_object(tmp_path, "config.json")
