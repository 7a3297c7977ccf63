"""The system calls that Python has no function for. Each raises ``Denied``, which names the step.

Runs in the sandbox's own processes: nothing here may import more than it must.
"""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_SECUREBITS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 28, 36, 38, 47
NO_ROOT_FOR_GOOD = 0b00101111  # noroot, no setuid fixup, both locked; keep caps locked off

_SIGCHLD = 17
_CALLS = {  # clone, pivot_root, mount_setattr
    "x86_64": (56, 155, 442),
    "aarch64": (220, 41, 442),
}
_FILTER_MODE = 2
_CAPABILITY_VERSION = 0x20080522
_MORE_THAN_ALL_CAPABILITIES = 64
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000

# The lock is kept across calls: after clone the child must not wait for a thread it has not got.
_libc = ctypes.PyDLL(None, use_errno=True)


class Denied(OSError):
    """``str()`` says which step was refused and the kernel's reason."""

    def __init__(self, step: str, number: int) -> None:
        super().__init__(number, os.strerror(number))
        self.step = step

    def __str__(self) -> str:
        return f"{self.step}: {self.strerror}"


def _call(step: str, function: str, *arguments: object) -> int:
    ctypes.set_errno(0)
    done = int(getattr(_libc, function)(*arguments))
    if done < 0:
        raise Denied(step, ctypes.get_errno())
    return done


def _number(which: int) -> ctypes.c_long:
    calls = _CALLS.get(os.uname().machine)
    if calls is None:
        raise Denied(f"system calls of {os.uname().machine}", 38)
    return ctypes.c_long(calls[which])


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def clone(flags: int) -> int:
    """Like ``fork``, with new namespaces; only for a process of one thread."""
    zero = ctypes.c_long(0)
    bits = ctypes.c_long(flags | _SIGCHLD)
    return _call("new namespaces", "syscall", _number(0), bits, zero, zero, zero, zero)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    step = f"mount {kind or 'bind'} on {target}"
    bits = ctypes.c_ulong(flags)
    _call(step, "mount", _bytes(source), _bytes(target), _bytes(kind), bits, _bytes(data) or None)


def unmount(target: str) -> None:
    _call(f"unmount {target}", "umount2", _bytes(target), MNT_DETACH)


def pivot_root(new: str, old: str) -> None:
    _call("pivot_root", "syscall", _number(1), _bytes(new), _bytes(old))


def set_mount_attributes(target: str, flags: int) -> None:
    """``MS_`` flags for a mount and all under it; kernels before 5.12 lack the call."""
    attributes = (ctypes.c_uint64 * 4)(flags & 0xF, 0, 0, 0)  # the lowest four are the same bits
    path, size = _bytes(target), ctypes.c_size_t(ctypes.sizeof(attributes))
    at, recursive = ctypes.c_long(_AT_FDCWD), ctypes.c_ulong(_AT_RECURSIVE)
    step = f"make {target} read-only"
    _call(step, "syscall", _number(2), at, path, recursive, ctypes.byref(attributes), size)


def prctl(step: str, option: int, first: int = 0, second: int = 0) -> int:
    rest = (ctypes.c_ulong(0), ctypes.c_ulong(0))
    return _call(step, "prctl", option, ctypes.c_ulong(first), ctypes.c_ulong(second), *rest)


def drop_capabilities() -> None:
    """All sets, the bounding one too, and no way back through user 0."""
    for capability in range(_MORE_THAN_ALL_CAPABILITIES):
        try:
            prctl("drop the bounding set", PR_CAPBSET_DROP, capability)
        except Denied as denied:
            if denied.errno == 22:  # past the last one
                break
            if denied.errno != 1:  # one without CAP_SETPCAP has none to pass on
                raise
            break
    for option, first, second in ((PR_CAP_AMBIENT, 4, 0), (PR_SET_SECUREBITS, NO_ROOT_FOR_GOOD, 0)):
        try:
            prctl("lock the capabilities", option, first, second)
        except Denied as denied:
            if denied.errno not in (1, 22):
                raise
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    _call("drop capabilities", "capset", ctypes.byref(header), ctypes.byref(none))


def filter_system_calls(program: bytes) -> None:
    """``program``: instructions of eight bytes, for this process and all it starts."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    kept = ctypes.create_string_buffer(program, len(program))
    whole = Program(len(program) // 8, ctypes.cast(kept, ctypes.c_void_p))
    none = ctypes.c_ulong(0)
    mode = ctypes.c_ulong(_FILTER_MODE)
    _call("seccomp filter", "prctl", PR_SET_SECCOMP, mode, ctypes.byref(whole), none, none)


def set_hostname(name: str) -> None:
    raw = os.fsencode(name)
    _call("set the host name", "sethostname", raw, ctypes.c_size_t(len(raw)))


def set_default_signal(number: int) -> None:
    _libc.signal(number, None)


def unblock_signals() -> None:
    _libc.sigprocmask(2, ctypes.create_string_buffer(128), None)
