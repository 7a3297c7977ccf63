"""What the parent asks of the supervisor, and what comes back; both travel by ``marshal``."""

from typing import TypedDict


class Plan(TypedDict):
    """One run. Paths under ``visible``, ``links`` and ``devices`` are the host's."""

    namespaces: int  # CLONE_ flags
    user: int  # of the host, for the program; its group has the same number where ``spread`` > 1
    group: int
    spread: int  # how many ids from ``user`` on are free, so that every run has its own
    argv: list[str]
    files: list[tuple[str, bytes]]  # names relative to the working folder
    visible: list[str]  # files and folders to be seen read-only, at their own path
    links: list[tuple[str, str]]  # path and where it points
    devices: list[str]
    base: str  # an existing folder of the host, covered in the sandbox's own mount namespace
    temporary: str  # where the working folder is made if there is no mount namespace
    rlimits: list[tuple[int, int, int]]
    filter: bytes  # of system calls; empty for none
    wall_s: float
    cpu_s: float
    memory_bytes: int
    folder_bytes: int
    output_bytes: int


class Told(TypedDict):
    """``end`` is a value of ``End``, or empty where the sandbox could not be set up."""

    end: str
    exit_code: int | None
    detail: str  # why it ended, or what was denied
    stdout: bytes
    stderr: bytes
    cpu_s: float
    wall_s: float
    how: str  # choices made inside, as key=value with spaces between
