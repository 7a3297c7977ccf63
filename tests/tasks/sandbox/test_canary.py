"""Each sign is seen when it should be, and not before."""

import os
import signal
import socket
from collections.abc import Callable

import pytest

from penjing.tasks.sandbox.canary import Canary


def touch(canary: Canary) -> None:
    canary.file.write_text("other", encoding="ascii")


def leave(canary: Canary) -> None:
    (canary.folder / "left").touch()


def remove(canary: Canary) -> None:
    canary.file.unlink()


def connect(canary: Canary) -> None:
    socket.create_connection(canary.tcp.getsockname()).close()


def send(canary: Canary) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", canary.udp.getsockname())


def reach(canary: Canary) -> None:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(canary.unix_path)


def reach_abstract(canary: Canary) -> None:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(f"\0{canary.abstract}")


def kill(canary: Canary) -> None:
    os.kill(canary.process.pid, signal.SIGKILL)


def stop(canary: Canary) -> None:
    os.kill(canary.process.pid, signal.SIGSTOP)


@pytest.mark.parametrize(
    ("attack", "sign"),
    [
        (touch, "a file outside was changed"),
        (leave, "a file outside was changed"),
        (remove, "a file outside was changed"),
        (connect, "the TCP listener was reached"),
        (send, "the UDP listener was reached"),
        (reach, "the listener in a folder was reached"),
        (reach_abstract, "the abstract listener was reached"),
        (kill, "a process outside does not answer"),
        (stop, "a process outside does not answer"),
    ],
)
def test_signs(
    attack: Callable[[Canary], None], sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Canary() as canary:
        assert canary.signs() == []
        monkeypatch.setattr("penjing.tasks.sandbox.canary._PATIENCE_S", 1.0)
        attack(canary)
        assert canary.signs() == [sign]
    assert not canary.folder.exists()
    assert canary.process.poll() is not None
