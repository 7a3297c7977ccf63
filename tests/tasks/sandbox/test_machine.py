"""What machines allow, this one and those that deny something: a filter in a child denies it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from penjing.tasks.sandbox import kernel, machine, seccomp
from penjing.tasks.sandbox.protections import ALL, Protection, SandboxRefused

ROOT = Path(__file__).parents[3]
SPACES = sum(machine._NAMESPACES.values()) | kernel.CLONE_NEWUSER | kernel.CLONE_NEWCGROUP
PROGRAM = """
import os, socket
from pathlib import Path
for path in ({file!r}, "/etc/passwd"):
    print(os.path.exists(path))
try:
    socket.socket()
except OSError as error:
    print(error.errno)
if os.fork() == 0:
    os.setsid()
    os.execv("/bin/sleep", ["sleep", {label!r}])
"""


def denying(call: str) -> bytes:
    """A filter that refuses to make a kind of namespace, or one system call by its number."""
    machine_name = platform.machine()
    if machine_name not in seccomp.machines():
        pytest.skip(f"no filter is written for {machine_name}")
    column = seccomp.machines().index(machine_name)
    absent = seccomp._one(seccomp._RETURN, seccomp._DOES_NOT_EXIST)
    kind, _, value = call.partition(" ")
    if kind == "absent":
        middle = seccomp._when(seccomp._EQUAL, int(value), absent)
    elif kind == "filters":
        argument = seccomp._unless_allowed(0, seccomp._EQUAL, (kernel.PR_SET_SECCOMP,), False)
        middle = seccomp._when(seccomp._EQUAL, (157, 167)[column], argument)
    else:
        flags = seccomp._unless_allowed(0, seccomp._ANY_BIT, (int(value),), False)
        middle = seccomp._when(seccomp._EQUAL, seccomp._CLONE[column], flags)
    return seccomp._load(0) + middle + seccomp._one(seccomp._RETURN, seccomp._ALLOW)


def run_denied(call: str, code: str) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` in a process, and on a machine, that denies ``call``."""
    start = f"""
from penjing.tasks.sandbox import kernel
kernel.prctl("", kernel.PR_SET_NO_NEW_PRIVS, 1)
try:
    kernel.filter_system_calls({denying(call)!r})
except kernel.Denied as denied:
    print("no filter:", denied)
    raise SystemExit
from penjing.tasks.sandbox.sandbox import *
from penjing.tasks.sandbox.protections import *
"""
    command = [sys.executable, "-c", start + code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.stdout.startswith("no filter:"):
        pytest.skip(done.stdout)
    return done


def needs_all() -> None:
    try:
        found = machine.machine().report
    except SandboxRefused as refused:
        pytest.skip(str(refused))
    if found.missing:
        pytest.skip(f"this machine lacks {', '.join(found.missing)}")


REFUSED = """
try:
    Sandbox()
except SandboxRefused as refused:
    print(refused)
"""


def test_where_all_namespaces_are_denied_it_refuses() -> None:
    done = run_denied(f"clone {SPACES}", REFUSED)
    assert done.stdout.startswith("this machine denies the sandbox: "), done.stderr
    assert done.stdout.count("\n") == 1
    for name in ("files", "processes", "network", "ipc", "hostname"):
        assert name in done.stdout
    assert "Operation not permitted" in done.stdout
    assert "leave these out of the sandbox's needs" in done.stdout


def test_one_who_waives_them_is_warned_once_and_keeps_the_rest(tmp_path: Path) -> None:
    canary, label = tmp_path / "canary", f"9{os.getpid()}"
    canary.touch()
    program = PROGRAM.format(file=str(canary), label=label)
    code = f"""
import tempfile
for _ in range(2):
    outcome = Sandbox(needs=frozenset()).run(["python", "-c", {program!r}], files={{"x": "y"}})
print(outcome.stdout, outcome.exit_code)
print(Sandbox(needs=frozenset()).run(["python", "-c", "import os; print(os.getcwd())"]).stdout)
"""
    done = run_denied(f"clone {SPACES}", code)
    assert done.stdout.startswith("b'True\\nTrue\\n1\\n' 0\n"), done.stderr
    warned = [line for line in done.stderr.splitlines() if "WITHOUT these protections" in line]
    assert len(warned) == 1
    folder = done.stdout.splitlines()[1][2:-3]
    assert "/penjing-" in folder
    assert not os.path.exists(folder)
    assert label not in command_lines()


def command_lines() -> str:
    texts = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            texts.append(file.read_text("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(texts)


def test_one_that_lacks_is_named_alone_and_may_be_waived_alone() -> None:
    needs_all()
    code = """
try:
    Sandbox()
except SandboxRefused as refused:
    print(refused)
sandbox = Sandbox(needs=ALL - {Protection.NETWORK})
print(sandbox.report().missing)
print(sandbox.run(["python", "-c", "import os; print(os.getpid(), os.listdir('/home'))"]).stderr)
"""
    done = run_denied(f"clone {kernel.CLONE_NEWNET}", code)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("this machine denies the sandbox: network (new namespaces: ")
    assert lines[1] == "frozenset({<Protection.NETWORK: 'network'>})"
    assert "FileNotFoundError" in lines[2]


def test_without_user_namespaces_root_becomes_somebody_else() -> None:
    needs_all()
    if os.geteuid() != 0:
        pytest.skip("only root can do without user namespaces")
    code = """
sandbox = Sandbox()
print(sandbox.report())
print(sandbox.run(["python", "-c", "import os; print(os.getuid()); os.listdir('/root/.ssh')"]))
print(sandbox.run(["python", "-c", "open('f', 'w').write('x'); print(os.listdir())"]).exit_code)
"""
    done = run_denied(f"clone {kernel.CLONE_NEWUSER}", code)
    first = done.stdout.splitlines()[0].split()
    assert first[:3] == ["user", "active", "user"], done.stderr
    user = int(done.stdout.split("stdout=b'")[1].split("\\n")[0])
    assert user >= int(first[3]) > 0
    assert "MISSING" not in done.stdout


def test_where_filters_are_denied_that_is_said() -> None:
    done = run_denied("filters", REFUSED)
    assert "system_calls (seccomp filter: Operation not permitted)" in done.stdout, done.stderr


def test_on_old_kernels_mounts_are_made_read_only_one_by_one() -> None:
    needs_all()
    code = """
sandbox = Sandbox()
print(sandbox.report().states[1].how)
code = "import os; print([os.statvfs(p).f_flag & 3 for p in ('/', '/usr', os.__file__)])"
print(sandbox.run(["python", "-c", code]).stdout.decode())
"""
    done = run_denied("absent 442", code)  # mount_setattr
    assert "read-only=remount" in done.stdout, done.stderr
    assert "[3, 3, 3]" in done.stdout  # read-only, without setuid


def test_other_systems_are_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "s390x")
    with pytest.raises(SandboxRefused, match="runs on Linux on x86_64 and aarch64") as caught:
        machine.machine.__wrapped__()
    assert "\n" not in str(caught.value)


def test_a_python_that_holds_the_home_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/opt/python/home")
    monkeypatch.setattr(sys, "base_prefix", "/opt/python")
    with pytest.raises(SandboxRefused, match="holds the home folder /opt/python/home"):
        machine._visible()
    monkeypatch.setenv("HOME", "/opt/python-home")
    assert "/opt/python" in machine._visible()[0]


def test_what_is_seen_never_lies_within_another() -> None:
    visible, links = machine._visible()
    assert not [a for a in visible for b in visible if a != b and a.startswith(f"{b}/")]
    assert any(machine.interpreter().startswith(f"{path}/") for path in visible)
    assert all(not target.startswith("/home") for _, target in links)
    assert not {"/", "/etc", "/home", "/root", "/var", "/tmp"} & set(visible)


def test_ids_are_those_of_nobody() -> None:
    first, number = machine._free_ids()
    if os.geteuid() == 0:
        assert first > 0
    else:
        assert (first, number) == (os.getuid(), 1)


def test_a_state_for_every_protection() -> None:
    try:
        report = machine.machine().report
    except SandboxRefused as refused:
        pytest.skip(str(refused))
    assert {s.protection for s in report.states} == ALL
    assert all(s.how for s in report.states)
    assert Protection.PRIVILEGES not in report.missing
