"""The filter, run by an interpreter of its instructions; its numbers against the headers."""

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import UnknownName
from penjing.tasks.sandbox.seccomp import DENIED, LAST_KNOWN, machines, program_filter

ALLOW, KILL, NOT_PERMITTED, DOES_NOT_EXIST = 0x7FFF0000, 0x80000000, 0x50001, 0x50026
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
ARGUMENTS = st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6)
CALLS = {  # clone, clone3, prlimit64, socketpair, ioctl
    "x86_64": (56, 435, 302, 53, 16),
    "aarch64": (220, 435, 261, 199, 29),
}


def answer(machine: str, number: int, arguments: list[int], architecture: int | None = None) -> int:
    """What the kernel would do: classic BPF as in linux/filter.h, with the five codes in use."""
    arch = ARCHITECTURES[machine] if architecture is None else architecture
    data = struct.pack("<IIQ6Q", number, arch, 0, *arguments)
    program = program_filter(machine)
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        if code == 0x06:
            return int(operand)
        if code == 0x20:
            accumulator = int(struct.unpack_from("<I", data, operand)[0])
            continue
        tests = {0x15: accumulator == operand, 0x25: accumulator > operand}
        tests[0x45] = bool(accumulator & operand)
        at += if_true if tests[code] else if_false


def denied(machine: str) -> set[int]:
    column = machines().index(machine)
    return {n for pair in DENIED.values() if (n := pair[column]) is not None}


@pytest.mark.parametrize("machine", machines())
@given(number=st.integers(0, 2**32 - 1) | st.integers(0, 500), arguments=ARGUMENTS)
def test_every_call_is_answered_by_its_number(
    machine: str, number: int, arguments: list[int]
) -> None:
    if number in CALLS[machine]:
        return
    expected = NOT_PERMITTED if number in denied(machine) else ALLOW
    expected = DOES_NOT_EXIST if number > LAST_KNOWN else expected
    assert answer(machine, number, arguments) == expected


@pytest.mark.parametrize("machine", machines())
@given(arguments=ARGUMENTS)
def test_some_calls_are_answered_by_their_arguments(machine: str, arguments: list[int]) -> None:
    clone, clone3, prlimit, socketpair, ioctl = CALLS[machine]
    first, second = (argument & 0xFFFFFFFF for argument in arguments[:2])
    spaces = first & 0x7E020000
    assert answer(machine, clone, arguments) == (NOT_PERMITTED if spaces else ALLOW)
    assert answer(machine, clone3, arguments) == DOES_NOT_EXIST
    assert answer(machine, prlimit, arguments) == (NOT_PERMITTED if first else ALLOW)
    assert answer(machine, socketpair, arguments) == (ALLOW if first == 1 else NOT_PERMITTED)
    typing = second in (0x5412, 0x541C)
    assert answer(machine, ioctl, arguments) == (NOT_PERMITTED if typing else ALLOW)


@pytest.mark.parametrize("machine", machines())
@pytest.mark.parametrize("flag", [1 << bit for bit in (17, 25, 26, 27, 28, 29, 30)])
def test_clone_makes_threads_and_children_but_no_namespace(machine: str, flag: int) -> None:
    clone, _, prlimit, socketpair, ioctl = CALLS[machine]
    rest = [0] * 5
    assert answer(machine, clone, [0x3D0F00, *rest]) == ALLOW  # what pthread_create asks for
    assert answer(machine, clone, [17, *rest]) == ALLOW  # fork
    assert answer(machine, clone, [17 | flag, *rest]) == NOT_PERMITTED
    assert answer(machine, prlimit, [0, *rest]) == ALLOW
    assert answer(machine, socketpair, [1, *rest]) == ALLOW
    assert answer(machine, ioctl, [0, 0x5412, 0, 0, 0, 0]) == NOT_PERMITTED


@pytest.mark.parametrize("machine", machines())
@pytest.mark.parametrize("architecture", [0x40000003, 0x40000028, 0])
def test_another_architecture_is_the_end(machine: str, architecture: int) -> None:
    assert answer(machine, 1, [0] * 6, architecture) == KILL


@pytest.mark.parametrize("machine", machines())
def test_numbers_are_those_of_the_headers(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    pattern = r"#define __NR3?2?4?_?(?:3264_)?(\w+)\s+(\d+)"
    numbers = dict(re.findall(pattern, header.read_text("ascii")))
    column = machines().index(machine)
    ours = {name: pair[column] for name, pair in DENIED.items() if pair[column] is not None}
    assert {name: int(numbers[name]) for name in ours} == ours
    names = ("clone", "clone3", "prlimit64", "socketpair", "ioctl")
    assert tuple(int(numbers[name]) for name in names) == CALLS[machine]


def test_what_python_needs_is_not_among_them() -> None:
    needed = {"read", "write", "openat", "mmap", "execve", "futex", "exit_group", "wait4", "pipe2"}
    assert needed.isdisjoint(DENIED)


def test_an_unknown_machine_is_named() -> None:
    with pytest.raises(UnknownName, match="riscv64"):
        program_filter("riscv64")
