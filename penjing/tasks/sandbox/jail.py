"""The first process inside: shuts every door behind itself, starts the program, and waits for it.

It is process 1 of its namespace. When it ends, the kernel ends everything else in there. It gives
up what it may do before the program starts, and cannot be looked into by it.
"""

from __future__ import annotations

import os
import resource

from penjing.tasks.sandbox import kernel

TYPE_CHECKING = False  # typing itself costs a few milliseconds a start
if TYPE_CHECKING:
    from typing import NoReturn

    from penjing.tasks.sandbox.plan import Plan

INSIDE_ID = 1000  # of the program's user and group in its own user namespace
FOLDER = "/tmp/box"  # the working folder, where there is a mount namespace
_FOLDER_ENTRIES = 8192
_ROOT_BYTES = 1 << 20  # of the root, which holds mount points only
_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV
_ESCAPES = ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\"))  # of mountinfo
_LOCKED_FLAGS = ((2, kernel.MS_NOSUID), (4, kernel.MS_NODEV), (8, kernel.MS_NOEXEC))  # ST_, MS_


def enter(plan: Plan, folder: str, go: int, status: int, streams: tuple[int, int, int]) -> NoReturn:
    """``go`` gives a byte once the ids are mapped; ``status`` gets lines for the supervisor.

    ``E text`` is a step that was denied, ``S choices`` the start, ``X status`` the program's end.
    """
    try:
        kernel.prctl("die with the supervisor", kernel.PR_SET_PDEATHSIG, 9)
        _close_all_but(go, status, *streams)
        if not os.read(go, 1):
            os._exit(1)
        how = _shut(plan, folder)
        os.write(status, f"S {how}\n".encode())
        program = os.fork()
        if program == 0:
            _run(plan, status, streams)
        _close_all_but(status)
        _wait_for(program, status)
    except BaseException as error:  # whatever it is, nothing may run on from here
        _complain(status, error)
    os._exit(1)


def _complain(status: int, error: BaseException) -> None:
    text = " ".join(str(error).split()) or type(error).__name__
    os.write(status, f"E {text[:500]}\n".encode())


def _close_all_but(*kept: int) -> None:
    low = 0
    for fd in sorted(kept):
        if low < fd:  # an empty range is taken for an endless one
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 1 << 30)


def _shut(plan: Plan, folder: str) -> str:
    os.umask(0o022)
    _reset_signals()
    flags = plan["namespaces"]
    how = ""
    if flags & kernel.CLONE_NEWNS:
        how = _build_root(plan, flags)
    elif flags & kernel.CLONE_NEWUSER:
        become(plan, flags)
    if flags & kernel.CLONE_NEWUTS:
        kernel.set_hostname("sandbox")
    if not flags & kernel.CLONE_NEWUSER:
        become(plan, flags)
    if not flags & kernel.CLONE_NEWPID:
        kernel.prctl("adopt orphans", kernel.PR_SET_CHILD_SUBREAPER, 1)
    _write_files(FOLDER if flags & kernel.CLONE_NEWNS else folder, plan["files"])
    kernel.prctl("no new privileges", kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()
    kernel.prctl("die with the supervisor", kernel.PR_SET_PDEATHSIG, 9)  # new ids unset it
    kernel.prctl("keep secrets", kernel.PR_SET_DUMPABLE, 0)
    return how


def _reset_signals() -> None:
    for number in range(1, 65):
        if number not in (9, 19, 32, 33):
            kernel.set_default_signal(number)
    kernel.unblock_signals()


def become(plan: Plan, flags: int) -> None:
    """Takes the program's ids; its own from the beginning where nothing else is allowed."""
    inside = bool(flags & kernel.CLONE_NEWUSER)
    group = INSIDE_ID if inside else plan["group"]
    user = INSIDE_ID if inside else plan["user"]
    if os.getresuid() == (user,) * 3 and os.getresgid() == (group,) * 3:
        return
    try:
        os.setgroups([])
    except PermissionError:
        if not inside:  # a mapping without privilege forbids it, and those groups mean nothing
            raise
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


def _build_root(plan: Plan, flags: int) -> str:
    """A root in memory with mount points for what is seen; the host's root is let go."""
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    # Opened as the user who started us, who may enter folders that the program's user may not.
    sources = {path: os.open(path, os.O_PATH) for path in (*plan["visible"], *plan["devices"])}
    if flags & kernel.CLONE_NEWUSER:
        become(plan, flags)
    base = plan["base"]
    kernel.mount("tmpfs", base, "tmpfs", _QUIET, f"size={_ROOT_BYTES},mode=755")
    how = set()
    for path, fd in sources.items():
        how.add(_bind(fd, base + path, is_device=path in plan["devices"]))
        os.close(fd)
    for path, target in plan["links"]:
        os.makedirs(os.path.dirname(base + path), exist_ok=True)
        os.symlink(target, base + path)
    owner = "" if flags & kernel.CLONE_NEWUSER else f",uid={plan['user']},gid={plan['group']}"
    size = f"size={plan['folder_bytes']},nr_inodes={_FOLDER_ENTRIES},mode=700{owner}"
    os.mkdir(base + "/tmp")
    kernel.mount("tmpfs", base + "/tmp", "tmpfs", _QUIET, size)
    proc = _mount_proc(base + "/proc") if flags & kernel.CLONE_NEWPID else "none"
    os.mkdir(base + "/.host")
    kernel.pivot_root(base, base + "/.host")
    os.chdir("/")
    kernel.unmount("/.host")
    os.rmdir("/.host")
    bits = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _QUIET
    kernel.mount(None, "/", None, bits)
    return f"proc={proc} read-only={'+'.join(sorted(how - {''}))}"


def _bind(fd: int, target: str, is_device: bool) -> str:
    """Mounts what ``fd`` shows; says by which call it was made read-only, if it was."""
    source = f"/proc/self/fd/{fd}"
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)
    if is_device:
        return ""
    try:
        kernel.set_mount_attributes(target, kernel.MS_RDONLY | _QUIET)
        return "mount_setattr"
    except kernel.Denied as denied:
        if denied.errno != 38:
            raise
    _remount_read_only(target)
    return "remount"


def _remount_read_only(target: str) -> None:
    """For kernels before 5.12: every mount under ``target``, with the flags it must keep."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split()[4] for line in file]
    for point in points:
        for escape, character in _ESCAPES:
            point = point.replace(escape, character)
        if point == target or point.startswith(target + "/"):
            have = os.statvfs(point).f_flag
            kept = sum(flag for bit, flag in _LOCKED_FLAGS if have & bit)
            bits = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _QUIET | kept
            kernel.mount(None, point, None, bits)


def _mount_proc(target: str) -> str:
    """The new namespace's processes, at best nothing else; where it is denied there is no /proc."""
    os.mkdir(target)
    bits = kernel.MS_RDONLY | kernel.MS_NOEXEC | _QUIET
    for options in ("subset=pid,hidepid=invisible", "hidepid=2", ""):
        try:
            kernel.mount("proc", target, "proc", bits, options)
            return options.replace("subset=pid,", "pids,") or "plain"
        except kernel.Denied:
            continue
    return "none"


def _write_files(folder: str, files: list[tuple[str, bytes]]) -> None:
    os.makedirs(folder, exist_ok=True)
    for name, content in files:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    os.chdir(folder)


def _run(plan: Plan, status: int, streams: tuple[int, int, int]) -> NoReturn:
    """Becomes the program, as a process without any file but its three streams."""
    try:
        os.setsid()
        os.set_inheritable(status, False)
        for target, fd in enumerate(streams):
            os.dup2(fd, target)
        _close_all_but(0, 1, 2, status)
        for which, soft, hard in plan["rlimits"]:
            most = resource.getrlimit(which)[1]
            if most != resource.RLIM_INFINITY:
                soft, hard = min(soft, most), min(hard, most)
            resource.setrlimit(which, (soft, hard))
        if plan["filter"]:
            kernel.filter_system_calls(plan["filter"])
    except BaseException as error:
        _complain(status, error)
        os._exit(1)
    try:
        os.execve(plan["argv"][0], plan["argv"], {})
    except BaseException as error:
        os.write(2, f"cannot start {plan['argv'][0]!r}: {error}\n".encode())
    os._exit(127)


def _wait_for(program: int, status: int) -> NoReturn:
    while True:
        pid, code = os.waitpid(-1, 0)
        if pid == program:
            os.write(status, f"X {code}\n".encode())
            os._exit(0)
