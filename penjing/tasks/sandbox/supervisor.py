"""The process outside that starts a jail, holds it to its limits, and tells how it ended.

One for every program, so that nothing is shared between runs and no thread is needed in the
caller. It ends the jail when the caller says so, when the caller ends, and when it ends itself.
"""

from __future__ import annotations

import marshal
import os
import select
import sys
import time

from penjing.tasks.sandbox import jail, kernel, tree

TYPE_CHECKING = False  # typing itself costs a few milliseconds a start
if TYPE_CHECKING:
    from penjing.tasks.sandbox.plan import Plan, Told

_SETUP_S = 30.0
_LOOK_S, _QUICK_LOOK_S = 0.05, 0.004  # between two looks at the tree: far from the limit, near it
_FILL_BYTES_PER_S = 4e9  # how fast memory may be filled at most, to look before it is full
_READ_BYTES = 1 << 16
_CPU_SIGNALS = (24,)  # SIGXCPU


def main() -> None:
    """Arguments: the caller's process id and five descriptors, -1 for none.

    The plan, where to tell, the line to the caller, the program's stdin and its stdout.
    """
    caller, plan_fd, told_fd, line, stdin, stdout = map(int, sys.argv[1:])
    with open(plan_fd, "rb") as file:
        plan: Plan = marshal.load(file)
    offset = os.getpid() % plan["spread"]
    plan["user"], plan["group"] = plan["user"] + offset, plan["group"] + offset
    streams = Streams(stdin, stdout)
    folder = ""
    try:
        if not plan["namespaces"] & kernel.CLONE_NEWNS:
            folder = _make_folder(plan)
        told = Run(plan, folder, streams, caller, line).finish()
    except Exception as error:  # told to the caller, who raises it
        told = _untold(f"{type(error).__name__}: {error}")
    finally:
        if folder:
            _remove_folder(folder)
    try:
        with open(told_fd, "wb") as file:
            file.write(marshal.dumps({**told}))
    except BrokenPipeError:  # the caller has gone
        os._exit(1)


def _untold(detail: str) -> Told:
    return {
        "end": "",
        "exit_code": None,
        "detail": detail,
        "stdout": b"",
        "stderr": b"",
        "cpu_s": 0.0,
        "wall_s": 0.0,
        "how": "",
    }


def _make_folder(plan: Plan) -> str:
    folder = os.path.join(plan["temporary"], f"penjing-{os.getpid()}-{time.time_ns()}")
    os.mkdir(folder, 0o700)
    if os.geteuid() != plan["user"]:
        os.chown(folder, plan["user"], plan["group"])
    return folder


def _remove_folder(folder: str) -> None:
    from shutil import rmtree

    rmtree(folder, ignore_errors=True)


class Streams:
    """Pipes to the program: those it gets, and those that are read here (-1 for none)."""

    def __init__(self, stdin: int, stdout: int) -> None:
        stdin = os.open("/dev/null", os.O_RDONLY) if stdin < 0 else stdin
        self.stdout = -1
        if stdout < 0:
            self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        self.programs = (stdin, stdout, stderr)
        self.read: dict[int, bytearray] = {
            fd: bytearray() for fd in (self.stdout, self.stderr) if fd >= 0
        }
        self.open = set(self.read)

    def close_programs(self) -> None:
        """Once the jail has them: an end is seen only when nobody else can write."""
        for fd in self.programs:
            os.close(fd)

    def take(self, fd: int) -> None:
        data = os.read(fd, _READ_BYTES)
        self.read[fd] += data
        if not data:
            self.open.discard(fd)

    def drain(self, most: int) -> None:
        """What is left in the pipes; never waits, as a descriptor may have been passed on."""
        for fd in tuple(self.open):
            os.set_blocking(fd, False)
            try:
                while fd in self.open and self.total <= most:
                    self.take(fd)
            except BlockingIOError:
                continue

    @property
    def total(self) -> int:
        return sum(map(len, self.read.values()))


class Run:
    """``end`` and ``detail`` are set by whatever stops the program first."""

    def __init__(self, plan: Plan, folder: str, streams: Streams, caller: int, line: int) -> None:
        self.plan, self.streams, self.line = plan, streams, line
        self.end, self.detail, self.how = "", "", ""
        self.code: int | None = None
        self.failure = ""
        self._lines = b""
        self._seen_cpu_s = 0.0
        self._shared_bytes = 0  # what the quick count of memory is too high by
        self.started = time.monotonic()
        self.has_started = False
        self.caller = caller
        if not plan["namespaces"] & kernel.CLONE_NEWPID:
            kernel.prctl("adopt orphans", kernel.PR_SET_CHILD_SUBREAPER, 1)
        go, go_end = os.pipe()
        self.status, status_end = os.pipe()
        self.pid = kernel.clone(plan["namespaces"])
        if self.pid == 0:
            jail.enter(plan, folder, go, status_end, streams.programs)
        for fd in (go, status_end):
            os.close(fd)
        streams.close_programs()
        try:
            _write(f"/proc/{self.pid}/oom_score_adj", "1000")  # the first to go if memory ends
            if plan["namespaces"] & kernel.CLONE_NEWUSER:
                map_ids(self.pid, plan["user"], plan["group"])
            os.write(go_end, b"g")
        except OSError as error:
            self.failure = f"map the user: {error}"
        os.close(go_end)

    def finish(self) -> Told:
        try:
            if not self.failure:
                self._watch()
        finally:
            cpu_s = self._stop()
        wall_s = time.monotonic() - self.started
        self.streams.drain(self.plan["output_bytes"])
        self._settle(cpu_s)
        if self.failure:
            return _untold(self.failure)
        output = [
            bytes(self.streams.read.get(f, b"")) for f in (self.streams.stdout, self.streams.stderr)
        ]
        most = self.plan["output_bytes"]
        return {
            "end": self.end,
            "exit_code": self.code,
            "detail": self.detail,
            "stdout": output[0][:most],
            "stderr": output[1][: max(0, most - len(output[0]))],
            "cpu_s": cpu_s,
            "wall_s": wall_s,
            "how": self.how,
        }

    def _watch(self) -> None:
        """Until something sets an end, or the jail has gone."""
        poll = select.poll()
        for fd in (self.line, self.status, *self.streams.open):
            poll.register(fd, select.POLLIN)
        look_at = self.started
        while not self.end and not self.failure:
            now = time.monotonic()
            limit_s = self.plan["wall_s"] if self.has_started else _SETUP_S
            if now - self.started >= limit_s:
                self._out_of_time(limit_s)
                return
            if os.getppid() != self.caller:  # a thread of it may end, and it is still our parent
                self.end, self.detail = "killed_signal", "the caller has ended"
                return
            if now >= look_at:
                look_at = now + self._look()
            wait_s = min(look_at, self.started + limit_s) - now
            for fd, _ in poll.poll(max(0.0, wait_s) * 1000 + 0.5):
                if fd == self.status:
                    if not self._read_status():
                        return
                else:
                    self._handle(fd, poll)

    def _out_of_time(self, limit_s: float) -> None:
        if self.has_started:
            self.end, self.detail = "killed_time", f"ran longer than {limit_s:g} s"
        else:
            self.failure = f"was not set up within {limit_s:g} s"

    def _handle(self, fd: int, poll: select.poll) -> None:
        if fd == self.line:
            self._obey(os.read(fd, 1))
        elif fd in self.streams.open:
            self.streams.take(fd)
            if fd not in self.streams.open:
                poll.unregister(fd)
            self._check_output()

    def _obey(self, word: bytes) -> None:
        if word == b"O":
            self._too_much_output()
        else:
            self.end, self.detail = "killed_signal", "stopped by the caller"

    def _check_output(self) -> None:
        if self.streams.total > self.plan["output_bytes"]:
            self._too_much_output()

    def _too_much_output(self) -> None:
        self.end = "killed_output"
        self.detail = f"wrote more than {self.plan['output_bytes']} bytes"

    def _read_status(self) -> bool:
        """False once the jail has no more to say."""
        data = os.read(self.status, _READ_BYTES)
        self._lines += data
        *whole, self._lines = self._lines.split(b"\n")
        for line in whole:
            kind, text = line[:1], line[2:].decode("utf-8", "replace")
            if kind == b"S":
                self.how, self.has_started, self.started = text, True, time.monotonic()
            elif kind == b"X":
                self.code = int(text)
                return False
            else:
                self.failure = text
        return bool(data)

    def _look(self) -> float:
        """Checks the tree against its limits; seconds until the next look is due."""
        if not self.has_started:
            return _LOOK_S
        limit = self.plan["memory_bytes"]
        resident, cpu_s = tree.usage(self.pid)
        self._seen_cpu_s = max(cpu_s, self._seen_cpu_s)
        if cpu_s > self.plan["cpu_s"]:
            self._out_of_cpu()
        if resident - self._shared_bytes > limit:
            exact = tree.proportional_bytes(self.pid)
            self._shared_bytes = max(0, resident - exact)
            if exact > limit:
                self.end = "killed_memory"
                self.detail = f"held more than {limit} bytes"
        room = limit - (resident - self._shared_bytes)
        return min(_LOOK_S, max(_QUICK_LOOK_S, room / _FILL_BYTES_PER_S))

    def _out_of_cpu(self) -> None:
        self.end, self.detail = "killed_cpu", f"computed longer than {self.plan['cpu_s']:g} s"

    def _stop(self) -> float:
        """Ends the jail and all in it; the CPU seconds that were spent inside.

        The kernel forgets those of processes that die with their first one: we look before.
        """
        seen_s = max(self._seen_cpu_s, tree.usage(self.pid)[1])
        if not self.plan["namespaces"] & kernel.CLONE_NEWPID:
            tree.kill(os.getpid(), keep=True)
        os.kill(self.pid, 9)  # not reaped yet: the id is still its own
        _, _, used = os.wait4(self.pid, 0)
        return max(seen_s, used.ru_utime + used.ru_stime)

    def _settle(self, cpu_s: float) -> None:
        """What the program's own end says, where nobody stopped it."""
        self._check_output()
        if self.end:
            self.code = None
            return
        code, self.code = self.code, None
        if code is None:
            if not self.has_started:
                self.failure = self.failure or "the first process inside died before it was set up"
            self.end, self.detail = "killed_signal", "the first process inside was killed"
        elif os.WIFEXITED(code):
            self.end, self.code = "exited", os.WEXITSTATUS(code)
        elif os.WTERMSIG(code) in _CPU_SIGNALS or cpu_s > self.plan["cpu_s"]:
            self._out_of_cpu()
        else:
            self.end, self.detail = "killed_signal", f"died of signal {os.WTERMSIG(code)}"


def map_ids(pid: int, user: int, group: int) -> None:
    """Makes ``user`` and ``group`` of this namespace the only ones in that of process ``pid``."""
    if os.geteuid() != 0:
        _write(f"/proc/{pid}/setgroups", "deny")
    try:
        _write(f"/proc/{pid}/gid_map", f"{jail.INSIDE_ID} {group} 1")
    except PermissionError:  # one without CAP_SETGID has to renounce groups first
        _write(f"/proc/{pid}/setgroups", "deny")
        _write(f"/proc/{pid}/gid_map", f"{jail.INSIDE_ID} {group} 1")
    _write(f"/proc/{pid}/uid_map", f"{jail.INSIDE_ID} {user} 1")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
