"""The other end of ``workers``: loads a function, then answers lines of JSON until there are none.

Run as ``python -m penjing.tasks.worker_child TARGET LIMIT_S MEMORY_BYTES``.
"""

import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

WATCH_S = 5.0  # how soon a worker notices that whoever started it is gone
Function = Callable[[Any], Any]


class TimeIsUp(BaseException):
    """No ``Exception``: what is judged must not catch it by the way."""


def main(target: str, limit_s: float, memory_bytes: int) -> None:
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what the function prints is no answer
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, _time_is_up)
    try:
        function = load(target)
    except BaseException as error:
        reply(replies, {"failure": "load", "message": line_of(error)})
        return
    reply(replies, {"answer": "ready"})
    parent = os.getppid()
    while (question := read_line(0, parent)) is not None:
        reply(replies, answer(function, json.loads(question), limit_s))


def load(target: str) -> Function:
    """Raises whatever importing raises, and ``AttributeError`` or ``TypeError``."""
    place, _, name = target.rpartition(":")
    if place.endswith(".py"):
        spec = spec_from_file_location(Path(place).stem, place)
        assert spec is not None
        assert spec.loader is not None
        sys.path.insert(0, str(Path(place).resolve().parent))
        module = module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and pickle look there
        spec.loader.exec_module(module)
    else:
        module = import_module(place)
    function = getattr(module, name)
    if not callable(function):
        raise TypeError(f"{name} is no function")
    found: Function = function
    return found


def answer(function: Function, question: Any, limit_s: float) -> dict[str, Any]:
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        found = {"answer": function(question)}
        signal.setitimer(signal.ITIMER_REAL, 0)
        json.dumps(found)
        return found
    except TimeIsUp:
        return {"failure": "timeout", "message": f"no answer within {limit_s:g} s"}
    except MemoryError:
        return {"failure": "memory", "message": "it takes too much memory"}
    except BaseException as error:  # a function may even call exit
        return {"failure": "raised", "message": line_of(error)}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def read_line(descriptor: int, parent: int, watch_s: float = WATCH_S) -> bytes | None:
    """None when there are no more, or when the parent is gone while another holds its pipe."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], watch_s)
        if not ready:
            if os.getppid() != parent:
                return None
            continue
        part = os.read(descriptor, 1 << 16)
        if not part:
            return None
        line += part
    return line


def reply(replies: BinaryIO, found: dict[str, Any]) -> None:
    left = memoryview(json.dumps(found).encode() + b"\n")
    while left:
        left = left[replies.write(left) :]


def line_of(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error!s:.300}".split())


def _time_is_up(number: int, frame: FrameType | None) -> None:
    raise TimeIsUp


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
