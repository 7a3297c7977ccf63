"""What this machine lets a sandbox do: asked once, by trying it."""

import marshal
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from penjing.tasks.sandbox import kernel, seccomp, tree
from penjing.tasks.sandbox.plan import Plan
from penjing.tasks.sandbox.protections import (
    Protection,
    ProtectionReport,
    ProtectionState,
    SandboxRefused,
)

_TIMEOUT_S = 60.0
_ROOMS = (  # what an interpreter and its libraries may need; /usr and /lib are often one
    *("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32", "/etc/ld.so.cache"),
    *("/nix/store", "/gnu/store"),
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random")
_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/shm", "/tmp"),
)
_FREE_IDS = (0x70000000, 1 << 22)  # above all that systemd gives out; as many as process ids
_NAMESPACES = {
    Protection.FILES: kernel.CLONE_NEWNS,
    Protection.PROCESSES: kernel.CLONE_NEWPID,
    Protection.NETWORK: kernel.CLONE_NEWNET,
    Protection.IPC: kernel.CLONE_NEWIPC,
    Protection.HOSTNAME: kernel.CLONE_NEWUTS,
}
_HOW = {
    Protection.FILES: "own mount namespace, read-only root in memory",
    Protection.PROCESSES: "own process namespace",
    Protection.NETWORK: "own network namespace, no interface up",
    Protection.IPC: "own IPC namespace",
    Protection.HOSTNAME: "own host name",
}

_SWITCHES = {  # of the kernel, where it forbids user namespaces
    "kernel/apparmor_restrict_unprivileged_userns": "1",
    "kernel/unprivileged_userns_clone": "0",
    "user/max_user_namespaces": "0",
}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """``plan`` is what every run has in common; its limits and files are empty."""

    plan: Plan
    report: ProtectionReport


@dataclass(frozen=True, kw_only=True)
class _Way:
    """A user to become, with a user namespace or without, and what each step was answered."""

    user: int
    group: int
    spread: int
    base_flags: int
    found: Mapping[object, str]

    def denial(self, flag: int) -> str:
        """Empty where the namespace is to be had."""
        return self.found[flag | self.base_flags, self.user]

    @property
    def is_possible(self) -> bool:
        """To stay who we are always is."""
        sees_python = not self.denial(kernel.CLONE_NEWNS) or not self.found["start"]
        return not self.denial(0) and (sees_python or self.user == os.getuid())

    @property
    def user_denial(self) -> str:
        if self.base_flags:
            if self.user == 0 and _is_true_root():
                return "root may not become another user, and stays root of the host"
            return self.denial(0)
        if self.user == os.getuid():
            return f"own user namespace: {self.found[kernel.CLONE_NEWUSER, self.user]}"
        return self.denial(0)

    @property
    def namespaces(self) -> int:
        wanted = (*_NAMESPACES.values(), kernel.CLONE_NEWCGROUP)
        return self.base_flags | sum(flag for flag in wanted if not self.denial(flag))

    @property
    def score(self) -> int:
        return sum(not self.denial(f) for f in _NAMESPACES.values()) + (not self.user_denial)


@cache
def machine() -> Machine:
    """Raises ``SandboxRefused`` where not even the question can be asked."""
    if sys.platform != "linux" or platform.machine() not in seccomp.machines():
        raise SandboxRefused(
            f"the sandbox runs on Linux on {' and '.join(seccomp.machines())}, and this is "
            f"{sys.platform} on {platform.machine()}; run it in a Linux machine or container"
        )
    user, spread = _free_ids()
    plan = _bare_plan(user, spread)
    found = _probe(plan)
    ways = [
        _Way(user=u, group=g, spread=s, base_flags=flags, found=found)
        for u, g, s in ((user, user, spread), (os.getuid(), os.getgid(), 1))
        for flags in (kernel.CLONE_NEWUSER, 0)
    ]
    best = max((way for way in ways if way.is_possible), key=lambda way: way.score)
    plan["user"], plan["group"], plan["spread"] = best.user, best.group, best.spread
    plan["namespaces"] = best.namespaces
    if found["filter"]:
        plan["filter"] = b""
    return Machine(
        plan=plan, report=ProtectionReport(states=_states(best, found), remedy=_remedy())
    )


def interpreter() -> str:
    """Python itself, not the link in a virtual environment: packages are not visible inside."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def supervisor_command(module: str) -> list[str]:
    """Runs ``main`` of a module of the sandbox without the caller's environment or packages."""
    root = str(Path(__file__).parents[3])
    code = (
        f"import sys; sys.path.append({root!r}); from {__package__} import {module} as m; m.main()"
    )
    return [interpreter(), "-I", "-S", "-c", code]


def _bare_plan(user: int, spread: int) -> Plan:
    visible, links = _visible()
    return {
        "namespaces": 0,
        "user": user,
        "group": user,
        "spread": spread,
        "argv": [interpreter()],
        "files": [],
        "visible": visible,
        "links": [*links, *_LINKS],
        "devices": [path for path in _DEVICES if os.path.exists(path)],
        "base": "/tmp" if os.path.isdir("/tmp") else "/usr",
        "temporary": os.path.realpath(os.environ.get("TMPDIR") or "/tmp"),
        "rlimits": [],
        "filter": seccomp.program_filter(platform.machine()),
        "wall_s": 0.0,
        "cpu_s": 0.0,
        "memory_bytes": 0,
        "folder_bytes": 0,
        "output_bytes": 0,
    }


def _visible() -> tuple[list[str], list[tuple[str, str]]]:
    """Paths to show, none within another, and links such as /bin to be made again."""
    prefix = os.path.realpath(sys.base_prefix)
    home = os.path.realpath(os.path.expanduser("~"))
    if f"{home}/".startswith(f"{prefix.rstrip('/')}/") and home != "/":
        raise SandboxRefused(
            f"Python lies in {prefix}, which holds the home folder {home}, and the sandbox would "
            "show it; use a Python with a folder of its own"
        )
    links = [(room, os.readlink(room)) for room in _ROOMS if os.path.islink(room)]
    rooms = [r for r in _ROOMS if os.path.exists(r) and not os.path.islink(r)]
    found: list[str] = []
    for path in (*rooms, prefix, interpreter()):
        if not any(path == other or path.startswith(f"{other}/") for other in found):
            found.append(path)
    return found, links


def _free_ids() -> tuple[int, int]:
    """The first of a row of user ids that nobody has, and their number; our own where none is."""
    if os.geteuid() != 0:
        return os.getuid(), 1
    rows = [line.split() for line in Path("/proc/self/uid_map").read_text("ascii").splitlines()]
    first, length = max(((int(r[0]), int(r[2])) for r in rows), key=lambda row: row[1])
    if first + length >= sum(_FREE_IDS):
        return _FREE_IDS
    return (first + length // 2, length // 2) if length > 1 else (os.getuid(), 1)


def _is_true_root() -> bool:
    row = Path("/proc/self/uid_map").read_text("ascii").split()
    return os.geteuid() == 0 and row[:2] == ["0", "0"]


def _probe(plan: Plan) -> Mapping[object, str]:
    done = subprocess.run(
        supervisor_command("probe"),
        input=marshal.dumps({**plan}),
        capture_output=True,
        env={},
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise SandboxRefused(
            f"the sandbox could not ask what this machine allows: {' '.join(last)}; is "
            f"{interpreter()} a working Python?"
        )
    found: Mapping[object, str] = marshal.loads(done.stdout)
    return found


def _states(way: _Way, found: Mapping[object, str]) -> tuple[ProtectionState, ...]:
    host = f"user {way.user} of the host" + (" or above" if way.spread > 1 else "")
    how = f"own user namespace, {host}" if way.base_flags else host
    answers = {Protection.USER: (way.user_denial, how)}
    answers |= {p: (way.denial(flag), _HOW[p]) for p, flag in _NAMESPACES.items()}
    filtered = f"seccomp filter refuses {len(seccomp.DENIED)} calls and all unknown ones"
    answers[Protection.SYSTEM_CALLS] = (found["filter"], filtered)
    answers[Protection.PRIVILEGES] = ("", "no new privileges, no capabilities")
    looked = "children lists" if tree.children_are_listed() else "walks over /proc"
    answers[Protection.LIMITS] = (found["watch"], f"rlimits, and a watch by {looked}")
    return tuple(
        ProtectionState(
            protection=p, is_active=not answers[p][0], how=answers[p][0] or answers[p][1]
        )
        for p in Protection
    )


def _remedy() -> str:
    for switch, closed in _SWITCHES.items():
        path = Path("/proc/sys", switch)
        if path.exists() and path.read_text("ascii").strip() == closed:
            return f"have sysctl {switch.replace('/', '.')} changed from {closed}"
    return (
        "allow user namespaces (in a container: --security-opt seccomp=unconfined, or --cap-add "
        "SYS_ADMIN)"
    )
