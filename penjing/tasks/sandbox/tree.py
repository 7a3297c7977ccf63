"""What a process and all its descendants use, read from the host's ``/proc``."""

import os

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PARENT, _CPU, _RESIDENT = 1, slice(11, 15), 21  # fields of stat, counted from the state on


def children_are_listed() -> bool:
    """Kernels without ``CONFIG_PROC_CHILDREN`` make every look a walk over all processes."""
    return os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children")


def descendants(root: int) -> list[int]:
    """``root`` first; what ends meanwhile is left out."""
    return _by_lists(root) if children_are_listed() else _by_parents(root)


def usage(root: int) -> tuple[int, float]:
    """Resident bytes of the descendants (shared pages counted each time) and CPU seconds.

    The seconds include those of children that were waited for, and of ``root``, which waits.
    """
    stats = {pid: s for pid in descendants(root) if (s := _stat(pid))}
    pages = sum(int(s[_RESIDENT]) for pid, s in stats.items() if pid != root)
    ticks = sum(int(n) for s in stats.values() for n in s[_CPU])
    return pages * _PAGE_BYTES, ticks / _TICKS_PER_S


def proportional_bytes(root: int) -> int:
    """The same with every shared page split among those that hold it; slower."""
    return sum(_proportional(pid) for pid in descendants(root)[1:])


def kill(root: int, keep: bool = False) -> None:
    """Kills all descendants until none is left, and ``root`` itself unless it is to be kept."""
    for _ in range(1000):
        found = descendants(root)[1 if keep else 0 :]
        alive = [pid for pid in found if (s := _stat(pid)) and s[0] not in ("Z", "X")]
        if not alive:
            return
        for pid in alive:
            try:
                os.kill(pid, 9)
            except OSError:
                continue


def _stat(pid: int) -> list[str]:
    text = _read(f"/proc/{pid}/stat")
    return text[text.rfind(")") + 2 :].split()  # the name before it may hold anything


def _proportional(pid: int) -> int:
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    pages = _read(f"/proc/{pid}/statm").split()  # rollup is not for all to read
    return int(pages[1]) * _PAGE_BYTES if pages else 0


def _by_lists(root: int) -> list[int]:
    found = [root]
    for pid in found:  # grows while it is walked
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for thread in threads:
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _by_parents(root: int) -> list[int]:
    parents = {
        int(n): int(s[_PARENT]) for n in os.listdir("/proc") if n.isdigit() and (s := _stat(int(n)))
    }
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
