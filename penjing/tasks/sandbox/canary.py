"""Things on the host that a program inside must not touch, and what was seen of it if it did."""

import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from penjing.tasks.sandbox.machine import interpreter

_ECHO = "import os\nwhile word := os.read(0, 1): os.write(1, word)"
_PATIENCE_S = 10.0  # for an answer of a process on a busy machine


class Canary:
    """A file in a folder, four listeners and a process, with one secret among them."""

    def __init__(self) -> None:
        self.secret = f"canary-{secrets.token_hex(16)}"
        self.folder = Path(tempfile.mkdtemp(prefix="canary-"))
        self.file = self.folder / f"file-{secrets.token_hex(8)}"
        self.file.write_text(self.secret, encoding="ascii")
        self.unix_path = str(self.folder / "socket")
        self.abstract = f"canary-{secrets.token_hex(8)}"
        self.tcp = _listener(socket.AF_INET, ("127.0.0.1", 0))
        self.udp = _listener(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM)
        self._unix = _listener(socket.AF_UNIX, self.unix_path)
        self._abstract = _listener(socket.AF_UNIX, f"\0{self.abstract}")
        self.inherited = os.open(self.file, os.O_RDONLY)
        os.set_inheritable(self.inherited, True)
        self.process = subprocess.Popen(
            [interpreter(), "-I", "-S", "-c", _ECHO],
            env={"KEY": self.secret},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._before = self._files()
        self._host = socket.gethostname()

    def signs(self) -> list[str]:
        """What can be seen from outside, each in a few words."""
        found = {
            "a file outside was changed": self._files() != self._before,
            "the TCP listener was reached": _was_reached(self.tcp),
            "the UDP listener was reached": _was_reached(self.udp),
            "the listener in a folder was reached": _was_reached(self._unix),
            "the abstract listener was reached": _was_reached(self._abstract),
            "a process outside does not answer": not self._answers(),
            "the host was renamed": socket.gethostname() != self._host,
        }
        return [what for what, is_so in found.items() if is_so]

    def close(self) -> None:
        os.close(self.inherited)
        for listener in (self.tcp, self.udp, self._unix, self._abstract):
            listener.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _answers(self) -> bool:
        """Whether the process still does what it did; one that was killed may end a bit later."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(b"?")
        except BrokenPipeError:
            return False
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        return bool(poll.poll(_PATIENCE_S * 1000)) and self.process.stdout.read(1) == b"?"

    def _files(self) -> dict[str, bytes]:
        return {f.name: f.read_bytes() for f in self.folder.iterdir() if f.is_file()}


def _listener(
    family: int, address: object, kind: socket.SocketKind = socket.SOCK_STREAM
) -> socket.socket:
    made = socket.socket(family, kind)
    made.bind(address)  # type: ignore[arg-type]  # a pair or a string, as the family has it
    if kind == socket.SOCK_STREAM:
        made.listen()
    made.setblocking(False)
    return made


def _was_reached(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(1)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True
