"""Programs that try to break out, as data, and what becomes of them.

Whether one succeeded is seen from outside wherever that can be: in a canary that was read, changed,
reached or killed, in output and time beyond the limits, in a process that is left, in an exit code
that is not the program's own. Else the program prints a mark once it has what it tried to get.
"""

import os
import platform
import secrets
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from penjing.errors import UnknownName
from penjing.tasks.sandbox import seccomp
from penjing.tasks.sandbox.canary import Canary
from penjing.tasks.sandbox.limits import Limits
from penjing.tasks.sandbox.sandbox import End, Outcome, Sandbox

FOLDER = Path(__file__).with_name("attacks")
MARK = "THE-ATTACK-SUCCEEDED"
LATE_S = 15.0  # beyond the wall time; not less, as several run at a time on a busy machine
ATTACK_LIMITS = Limits(
    wall_s=3.0,
    cpu_s=1.0,
    memory_bytes=96 << 20,
    processes=16,
    file_bytes=16 << 20,
    output_bytes=1 << 16,
    open_files=32,
)
_SCRIPT = "attack.py"
_CONTROL = """
import asyncio, json, os, re, subprocess, tempfile, threading
numbers = json.loads(input())
async def total(): return sum(numbers)
with tempfile.NamedTemporaryFile("w+") as file:
    file.write(str(asyncio.run(total()))); file.flush()
    thread = threading.Thread(target=print, args=(open(file.name).read(),))
    thread.start(); thread.join()
print(subprocess.run(["/bin/sh", "-c", "echo $((6 * 7))"], capture_output=True, text=True).stdout)
"""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """``honest_exit``: the code it ends with; another one reported is a success of the attack.

    ``shows_outside``: started without a sandbox it succeeds, harmlessly; which proves that a
    success would be seen. ``runs``: how often it runs in a row.
    """

    group: str  # what it is aimed at: the name of its file
    name: str
    tries: str
    program: str
    honest_exit: int | None = None
    shows_outside: bool = False
    runs: int = 1


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """``signs`` of success, in words; empty where it was blocked."""

    attack: Attack
    signs: tuple[str, ...]
    ended: str
    wall_s: float

    @property
    def is_blocked(self) -> bool:
        return not self.signs


@dataclass(frozen=True, kw_only=True)
class SandboxAttackReport:
    """``control`` is a harmless program that has to pass: what it lacked, or None."""

    results: tuple[AttackResult, ...]
    control: str | None

    @property
    def succeeded(self) -> tuple[AttackResult, ...]:
        return tuple(r for r in self.results if not r.is_blocked)

    def __str__(self) -> str:
        rows = [
            f"{r.attack.group:<10} {r.attack.name:<27} "
            f"{'blocked' if r.is_blocked else 'SUCCEEDED'}  {r.wall_s:5.2f} s  "
            f"{'; '.join((*r.signs, r.ended))}"
            for r in self.results
        ]
        control = f"FAILED: {self.control}" if self.control else "passes"
        count = f"{len(self.results)} attacks, {len(self.succeeded)} succeeded"
        return "\n".join([*rows, f"{count}; the harmless program {control}"])


def attacks(folder: Path = FOLDER) -> tuple[Attack, ...]:
    """By file and in its order; raises ``UnknownName`` for a key or an attack with no meaning."""
    found = []
    known = set(Attack.__dataclass_fields__) - {"group"}
    for file in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(file.read_text(encoding="utf-8"))["attack"]:
            for key in entry.keys() - known:
                raise UnknownName(f"key in {file.name}", key, known)
            found.append(Attack(group=file.stem, **entry))
    return tuple(found)


def run_attacks(
    sandbox: Sandbox, chosen: Sequence[Attack] | None = None, *, parallel: int = 2
) -> SandboxAttackReport:
    """All attacks, or those chosen; they take the CPU time they are allowed, so keep that short."""
    with ThreadPoolExecutor(parallel) as pool:
        results = pool.map(lambda attack: run_attack(sandbox, attack), chosen or attacks())
        return SandboxAttackReport(results=tuple(results), control=control_fault(sandbox))


def run_attack(sandbox: Sandbox, attack: Attack) -> AttackResult:
    label = secrets.token_hex(16)
    with Canary() as canary:
        files = {_SCRIPT: attack.program, "target.py": target(canary, sandbox.limits)}
        signs: list[str] = []
        begun = time.monotonic()
        for _ in range(attack.runs):
            started = time.monotonic()
            outcome = sandbox.run(["python", _SCRIPT, label], files=files)
            took_s = time.monotonic() - started
            signs += _signs(attack, outcome, canary, sandbox.limits, took_s)
        signs += canary.signs()
        if label in _command_lines():
            signs.append("a process is left")
        return AttackResult(
            attack=attack,
            signs=tuple(dict.fromkeys(signs)),
            ended=_ended(outcome),
            wall_s=time.monotonic() - begun,
        )


def _signs(
    attack: Attack, outcome: Outcome, canary: Canary, limits: Limits, took_s: float
) -> list[str]:
    said = outcome.stdout + outcome.stderr
    is_forged = attack.honest_exit not in (None, outcome.exit_code)
    found = {
        _after_mark(said): MARK.encode() in said,
        "the secret was read": canary.secret.encode() in said,
        "it ran on": took_s > limits.wall_s + LATE_S,
        "more output than allowed": len(said) > limits.output_bytes,
        "another exit code": outcome.end is End.EXITED and is_forged,
    }
    return [what for what, is_so in found.items() if is_so]


def _after_mark(said: bytes) -> str:
    what = said.partition(MARK.encode())[2].partition(b"\n")[0].decode("utf-8", "replace")
    return f"it got what it tried for{':' if what.strip() else ''}{what.rstrip()}"


def _ended(outcome: Outcome) -> str:
    if outcome.detail:
        return f"{outcome.end}: {outcome.detail}"
    last = outcome.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return f"{outcome.end} {outcome.exit_code}" + (f": {last[:60]}" if last else "")


def target(canary: Canary, limits: Limits) -> str:
    """A module: what attacks are told about the host, and how they say that they won."""
    column = seccomp.machines().index(platform.machine())
    values = {
        "FILE": str(canary.file),
        "FOLDER": str(canary.folder),
        "PROJECT": str(Path(__file__).parents[3]),
        "TCP_PORT": canary.tcp.getsockname()[1],
        "UDP_PORT": canary.udp.getsockname()[1],
        "UNIX_PATH": canary.unix_path,
        "ABSTRACT": canary.abstract,
        "PROCESS": canary.process.pid,
        "PARENT": os.getpid(),
        "MEMORY_BYTES": limits.memory_bytes,
        "FILE_BYTES": limits.file_bytes,
        "TOO_MUCH": 2 * (limits.memory_bytes + limits.file_bytes),
        "PROCESSES": limits.processes,
        "OPEN_FILES": limits.open_files,
        "NUMBERS": {name: pair[column] for name, pair in seccomp.DENIED.items()},
    }
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    return "\n".join([*lines, f"MARK = {MARK!r}", _TARGET])


_TARGET = '''
def won(what=""):
    print(MARK, what, flush=True)

def refused(name, *arguments):
    """Whether the kernel did not even look at the arguments."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    if NUMBERS[name] is None:
        return True
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return libc.syscall(NUMBERS[name], *wide) < 0 and ctypes.get_errno() in (1, 38)
'''


def control_fault(sandbox: Sandbox) -> str | None:
    """Why a harmless program, which uses threads, files, children and an event loop, failed."""
    outcome = sandbox.run(["python", "-I", "-c", _CONTROL], stdin=b"[20, 22]\n")
    if outcome.end is End.EXITED and outcome.exit_code == 0 and outcome.stdout == b"42\n42\n\n":
        return None
    return _ended(outcome)


def _command_lines() -> str:
    texts = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            texts.append(file.read_text(encoding="utf-8", errors="replace"))
        except OSError:  # it has ended meanwhile
            continue
    return "\n".join(texts)
