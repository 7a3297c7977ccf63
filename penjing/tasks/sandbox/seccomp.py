"""The filter of system calls: what a program has no business with is refused by the kernel.

Everything else is allowed, up to the last call that was looked at; newer ones do not exist for the
program, nor do those of another architecture. No socket can be made but a pair joined to itself
(``asyncio`` needs one), so that no family of addresses is reached even where the network namespace
is not to be had. ``clone`` may not make namespaces; ``clone3`` hides its flags in memory, where a
filter cannot look, and answers that it does not exist, upon which libc uses ``clone``.

Numbers: ``asm/unistd_64.h`` and ``asm-generic/unistd.h`` of Linux 6.1; layout and instructions:
``linux/seccomp.h``, ``linux/bpf_common.h``.
"""

import struct

from penjing.errors import UnknownName

DENIED: dict[str, tuple[int | None, int | None]] = {  # on x86_64 and aarch64
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # mounts and roots
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    # namespaces
    "unshare": (272, 97),
    "setns": (308, 268),
    # the kernel itself
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "query_module": (178, None),
    "get_kernel_syms": (177, None),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
    "syslog": (103, 116),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "uselib": (134, None),
    "_sysctl": (156, None),
    "sysfs": (139, None),
    # the machine
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "vhangup": (153, 58),
    "personality": (135, 92),
    # sockets
    "socket": (41, 198),
    "bind": (49, 200),
    "connect": (42, 203),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "setsockopt": (54, 208),  # a buffer's size is no other limit's concern
    # memory that no limit sees
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "mlock": (149, 228),
    "mlock2": (325, 284),
    "mlockall": (151, 230),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # turns at the processor
    "setpriority": (141, 140),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30),
}
LAST_KNOWN = 450

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH
_CLONE, _CLONE3, _PRLIMIT, _SOCKETPAIR, _IOCTL = (56, 220), 435, (302, 261), (53, 199), (16, 29)
_NAMESPACE_FLAGS = 0x7E020000  # NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_AF_UNIX = 1
_TYPING_FOR_OTHERS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX

_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_NOT_PERMITTED, _DOES_NOT_EXIST = 0x00050000 | 1, 0x00050000 | 38


def machines() -> tuple[str, ...]:
    return tuple(_MACHINES)


def program_filter(machine: str) -> bytes:
    """Instructions for ``uname -m``; raises ``UnknownName`` where no table was written for it."""
    if machine not in _MACHINES:
        raise UnknownName("architecture with a filter of system calls", machine, _MACHINES)
    column, architecture = _MACHINES[machine]
    numbers = sorted(n for pair in DENIED.values() if (n := pair[column]) is not None)
    parts = [
        _load(_ARCHITECTURE),
        _one(_EQUAL, architecture, 1, 0),
        _one(_RETURN, _KILL),
        _load(_NUMBER),
        _when(_ABOVE, LAST_KNOWN, _one(_RETURN, _DOES_NOT_EXIST)),  # and with it all of x32
        _when(_EQUAL, _CLONE3, _one(_RETURN, _DOES_NOT_EXIST)),
        *(_when(_EQUAL, number, _one(_RETURN, _NOT_PERMITTED)) for number in numbers),
        _when(_EQUAL, _CLONE[column], _unless_allowed(0, _ANY_BIT, (_NAMESPACE_FLAGS,), False)),
        _when(_EQUAL, _PRLIMIT[column], _unless_allowed(0, _EQUAL, (0,), True)),
        _when(_EQUAL, _SOCKETPAIR[column], _unless_allowed(0, _EQUAL, (_AF_UNIX,), True)),
        _when(_EQUAL, _IOCTL[column], _unless_allowed(1, _EQUAL, _TYPING_FOR_OTHERS, False)),
        _one(_RETURN, _ALLOW),
    ]
    return b"".join(parts)


def _one(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def _load(offset: int) -> bytes:
    return _one(_LOAD, offset)


def _when(test: int, operand: int, then: bytes) -> bytes:
    """``then`` must end in returns: behind it the accumulator need not hold the number."""
    return _one(test, operand, 0, len(then) // 8) + then


def _unless_allowed(argument: int, test: int, operands: tuple[int, ...], is_good: bool) -> bytes:
    """Looks at the low half of an argument, which is all the kernel reads of an ``int``.

    Whether a match with one of ``operands`` is what allows the call, or what forbids it.
    """
    match, other = (_ALLOW, _NOT_PERMITTED) if is_good else (_NOT_PERMITTED, _ALLOW)
    tests = b"".join(_when(test, operand, _one(_RETURN, match)) for operand in operands)
    return _load(16 + 8 * argument) + tests + _one(_RETURN, other)
