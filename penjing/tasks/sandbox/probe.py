"""Tries, in a process of its own, what the kernel lets this user do; ``machine`` asks once."""

from __future__ import annotations

import marshal
import os
import sys

from penjing.tasks.sandbox import kernel, supervisor, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penjing.tasks.sandbox.plan import Plan

NAMESPACES = (
    kernel.CLONE_NEWUSER,
    kernel.CLONE_NEWNS,
    kernel.CLONE_NEWPID,
    kernel.CLONE_NEWNET,
    kernel.CLONE_NEWIPC,
    kernel.CLONE_NEWUTS,
    kernel.CLONE_NEWCGROUP,
)


def main() -> None:
    """Reads a plan from stdin, of which ids, base, filter and argv are used; writes what was found.

    A dict from (flags, user) to the reason why that was denied, empty where it works; the user is
    the plan's or the caller's own, and no flags are the mere change to that user.
    ``filter``, ``watch`` and ``start``
    are keys as well: the last is whether the plan's user may start its program.
    """
    plan: Plan = marshal.load(sys.stdin.buffer)
    found: dict[object, str] = {}
    own: Plan = {**plan, "user": os.getuid(), "group": os.getgid()}
    wanted = {flag | base for flag in NAMESPACES for base in (kernel.CLONE_NEWUSER, 0)} | {0}
    for ids in (plan, own):
        for flags in wanted:
            if (flags, ids["user"]) not in found:
                found[flags, ids["user"]] = _attempt(ids, flags)
    found["filter"] = _attempt_filter(plan)
    found["start"] = _attempt_start(plan)
    found["watch"] = _attempt_watch()
    sys.stdout.buffer.write(marshal.dumps(found))


def _attempt(plan: Plan, flags: int) -> str:
    from penjing.tasks.sandbox import jail

    def inside() -> None:
        if flags & kernel.CLONE_NEWNS:
            kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        if flags & kernel.CLONE_NEWUSER:
            jail.become(plan, flags)
        if flags & kernel.CLONE_NEWNS:
            kernel.mount("tmpfs", plan["base"], "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
        if flags & kernel.CLONE_NEWUTS:
            kernel.set_hostname("sandbox")
        if not flags & kernel.CLONE_NEWUSER:
            jail.become(plan, flags)

    return _in_child(flags, inside, plan)


def _attempt_filter(plan: Plan) -> str:
    if not plan["filter"]:
        return "no filter is written for this architecture"

    def inside() -> None:
        kernel.prctl("no new privileges", kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.filter_system_calls(plan["filter"])

    return _in_child(0, inside, plan)


def _attempt_start(plan: Plan) -> str:
    from penjing.tasks.sandbox import jail

    def inside() -> None:
        jail.become(plan, 0)
        if not os.access(plan["argv"][0], os.X_OK, effective_ids=True):
            raise PermissionError(f"user {plan['user']} may not start {plan['argv'][0]}")

    return _in_child(0, inside, plan)


def _attempt_watch() -> str:
    told, told_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told_end)
        os.read(told, 1)
        os._exit(0)
    sees = tree.usage(os.getpid())[0] > 0
    _close((told, told_end))
    os.waitpid(pid, 0)
    return "" if sees else "/proc does not show our own processes"


def _in_child(flags: int, inside: Callable[[], None], plan: Plan) -> str:
    go, go_end = os.pipe()
    told, told_end = os.pipe()
    try:
        pid = kernel.clone(flags)
    except kernel.Denied as denied:
        _close((go, go_end, told, told_end))
        return str(denied)
    if pid == 0:
        try:
            os.close(go_end)
            if os.read(go, 1):
                inside()
                os.write(told_end, b"+")
        except BaseException as error:
            os.write(told_end, " ".join(str(error).split()).encode())
        os._exit(0)
    failure = ""
    try:
        if flags & kernel.CLONE_NEWUSER:
            supervisor.map_ids(pid, plan["user"], plan["group"])
        os.write(go_end, b"g")
    except OSError as error:
        failure = f"map user {plan['user']}: {error.strerror}"
    _close((go, go_end, told_end))
    said = os.read(told, 1000).decode("utf-8", "replace")
    os.close(told)
    os.waitpid(pid, 0)
    return failure or ("" if said == "+" else said or "died")


def _close(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)
