"""What stands between a program and the machine, and the report of what of it is in place."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from penjing.errors import PenjingError


class Protection(StrEnum):
    USER = (
        "user"  # runs as a user who owns nothing, with a user namespace of its own where possible
    )
    FILES = "files"  # sees Python, read-only, and a private folder in memory; nothing else
    PROCESSES = "processes"  # sees its own only, and all of them end with the first
    NETWORK = "network"  # has no interface that is up
    IPC = "ipc"  # shares no memory, semaphores or queues with others
    HOSTNAME = "hostname"
    SYSTEM_CALLS = "system_calls"  # a seccomp filter refuses what a program has no business with
    PRIVILEGES = "privileges"  # no capabilities, and none to be gained by any program it starts
    LIMITS = "limits"  # memory, time, processes, files and output are bounded


ALL = frozenset(Protection)


class SandboxRefused(PenjingError):
    """The machine denies a protection that was asked for, or the sandbox could not be set up."""


@dataclass(frozen=True, kw_only=True)
class ProtectionState:
    """``how`` it is done or, where ``is_active`` is false, what denies it."""

    protection: Protection
    is_active: bool
    how: str


@dataclass(frozen=True, kw_only=True)
class ProtectionReport:
    """``remedy``: what would have to change on this machine, for those who miss something."""

    states: tuple[ProtectionState, ...]  # one for each protection
    remedy: str

    @property
    def missing(self) -> frozenset[Protection]:
        return frozenset(s.protection for s in self.states if not s.is_active)

    def with_detail(self, protection: Protection, detail: str) -> Self:
        """With ``detail`` behind how a protection is done, if it is."""
        return replace(
            self,
            states=tuple(
                replace(s, how=f"{s.how}; {detail}")
                if s.protection is protection and s.is_active and detail
                else s
                for s in self.states
            ),
        )

    def refusal(self, needs: frozenset[Protection]) -> str | None:
        """One line: what is denied and what to do; None where all of ``needs`` is there."""
        lacking = [s for s in self.states if s.protection in needs and not s.is_active]
        if not lacking:
            return None
        return (
            f"this machine denies the sandbox: {_listed(lacking)}; {self.remedy}, or, for programs "
            "you trust, leave these out of the sandbox's needs"
        )

    def warning(self) -> str | None:
        """One line for those who waived protections; None where nothing is missing."""
        lacking = [s for s in self.states if not s.is_active]
        if not lacking:
            return None
        return f"penjing: programs run WITHOUT these protections: {_listed(lacking)}"

    def __str__(self) -> str:
        rows = ((s.protection, "active" if s.is_active else "MISSING", s.how) for s in self.states)
        return "\n".join(f"{name:<13}{state:<9}{how}" for name, state, how in rows)


def _listed(states: Iterable[ProtectionState]) -> str:
    reasons: dict[str, list[str]] = {}
    for state in states:
        reasons.setdefault(state.how, []).append(state.protection)
    return "; ".join(f"{', '.join(names)} ({how})" for how, names in reasons.items())
