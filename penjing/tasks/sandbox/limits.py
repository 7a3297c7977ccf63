"""How much a program may take, and what the kernel is told of it."""

import math
import resource
from dataclasses import dataclass, fields

from penjing.errors import BadQuantity

STACK_BYTES = 8 << 20
LEAST_MEMORY_BYTES = 32 << 20  # an interpreter maps about 20 MiB before the first line


@dataclass(frozen=True, kw_only=True)
class Limits:
    """``cpu_s``, ``memory_bytes`` and ``processes`` hold for a program with all its children.

    One process that asks for more memory is denied it (Python raises ``MemoryError``); where all
    together hold more, they are killed. What the kernel keeps for them is not counted: at most
    0.4 MB for each pair of sockets, and pipes as far as the machine's own limit for a user goes.

    ``processes`` counts threads too; without a user namespace, or before Linux 5.14, also all else
    that the user runs, so that a program may have none but itself. ``file_bytes`` is the size of
    the private folder, and so of the largest file; it comes on top of ``memory_bytes``. Without a
    mount namespace it bounds single files only. ``output_bytes`` counts what is written to stdout
    and stderr together. Raises ``BadQuantity``.
    """

    wall_s: float = 10.0
    cpu_s: float = 10.0
    memory_bytes: int = 512 << 20
    processes: int = 32
    file_bytes: int = 64 << 20
    output_bytes: int = 1 << 20
    open_files: int = 64

    def __post_init__(self) -> None:
        least = {"memory_bytes": LEAST_MEMORY_BYTES, "open_files": 8, "processes": 1}
        for entry in fields(self):
            value, low = getattr(self, entry.name), least.get(entry.name, 0)
            if not math.isfinite(value) or value < low or value <= 0:
                limit = f"at least {low}" if low else "finite and above 0"
                raise BadQuantity(f"the sandbox's {entry.name} is {value}; it must be {limit}")

    def rlimits(self) -> list[tuple[int, int, int]]:
        """Resource, soft and hard limit, for the program; its children inherit them."""
        cpu_s = math.ceil(self.cpu_s)
        both = {
            resource.RLIMIT_AS: self.memory_bytes,
            resource.RLIMIT_FSIZE: self.file_bytes,
            resource.RLIMIT_NOFILE: self.open_files,
            resource.RLIMIT_NPROC: self.processes + 1,  # the sandbox's own first process is one
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_MEMLOCK: 0,
            resource.RLIMIT_MSGQUEUE: 0,
            resource.RLIMIT_NICE: 0,
            resource.RLIMIT_RTPRIO: 0,
            resource.RLIMIT_SIGPENDING: 256,
        }
        return [
            (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),  # behind the warning of the soft one, SIGKILL
            (resource.RLIMIT_STACK, STACK_BYTES, max(STACK_BYTES, self.memory_bytes)),
            *((which, value, value) for which, value in both.items()),
        ]
