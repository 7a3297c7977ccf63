"""The C++ kernels: compiled once for this machine, tested against torch, called through ctypes.

No compiler, no matter: ``load_native`` then returns ``None`` and torch does the work, slower. What
a machine uses, and why, ``Native.digest`` and the reason say.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

_SOURCES = ("kernels.cpp", "attention.h", "product.h", "rows.h", "dot.h", "pool.h", "vector.h")
_FLAGS = (
    *("-O3", "-std=gnu++17", "-march=native", "-ffp-contract=off"),
    *("-fPIC", "-shared", "-fvisibility=hidden", "-pthread"),
)
_P, _I, _L, _F = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float
_SIGNATURES: dict[str, Sequence[type]] = {
    "linear": (_I, _I, _P, _L, _P, _P, _P, _P, _L, _I, _I, _I, _I),
    "heads": (_I, _P, _L, _L, _P, _L, _P, _L, _L, _I, _I, _I, _I, _I),
    "heads_across": (_I, _P, _L, _L, _P, _L, _P, _L, _L, _I, _I, _I, _I, _I),
    "experts": (_I, _P, _L, _P, _P, _P, _P, _I, _I, _I, _I),
    "attend": (
        *(_I, _P, _L, _P, _L, _I, _I, _I, _I, _I, _I, _F),
        *(_P, _I, _P, _L, _L, _P, _L, _I),
    ),
    "rms_norm": (_I, _P, _L, _P, _F, _P, _L, _L, _I, _L, _L, _I, _I),
    "rope": (_I, _P, _L, _I, _L, _I, _P, _P, _L, _I, _I),
    "silu_mul": (_I, _P, _P, _L, _I, _I),
    "sigmoid": (_P, _P, _L, _I),
    "log_sum_exp": (_P, _L, _P, _P, _L, _L, _I),
    "combine": (_I, _P, _P, _P, _I, _P, _P, _L, _I, _I),
}


class Native:
    """The compiled library; each kernel of ``kernels.cpp`` is an attribute."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        for name, arguments in _SIGNATURES.items():
            function = getattr(self._library, f"penjing_{name}")
            function.argtypes, function.restype = arguments, None
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Callable[..., None]:  # for the type checker
        raise AttributeError(f"there is no kernel {name}")

    @property
    def digest(self) -> str:
        """What decides the rounding of every sum: sources, width of a vector, products of pairs."""
        lanes, pairs = self._library.penjing_lanes(), self._library.penjing_bf16_pairs()
        return f"native-{_digest_of_sources()[:12]}-{lanes}lanes{'-bf16pairs' if pairs else ''}"


@cache
def load_native() -> Native | None:
    """Compiles at the first use on a machine, in some ten seconds; afterwards it is loaded.

    ``PENJING_KERNELS=torch`` turns the compiled kernels off.
    """
    if os.environ.get("PENJING_KERNELS") == "torch":
        return None
    compiler = _compiler()
    if compiler is None:
        return None
    try:
        library = _compiled(compiler)
        return Native(library) if library else None
    except OSError:
        return None  # no folder to write to, or a library of another machine


def _compiler() -> str | None:
    named = os.environ.get("CXX")
    candidates = [named] if named else ["g++", "clang++", "c++"]
    return next((found for c in candidates if (found := shutil.which(c))), None)


def _compiled(compiler: str) -> Path | None:
    target = _cache_folder() / f"{_key(compiler)}.so"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / "kernels.so"
        command = [compiler, *_FLAGS, "-o", str(built), str(_source("kernels.cpp"))]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            built.replace(target)  # whole or not at all: others may be compiling it too
            return target
    return None


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "penjing" / "kernels"


def _key(compiler: str) -> str:
    """Everything that the library depends on: sources, flags, compiler, processor."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    native = subprocess.run(
        [compiler, "-march=native", "-E", "-v", "-x", "c++", "/dev/null"],
        capture_output=True,
        check=False,
    ).stderr
    parts = (_digest_of_sources().encode(), version, native)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]


@cache
def _digest_of_sources() -> str:
    """Flags included: they too can move an order of summation or a rounding."""
    files = (_source(name).read_bytes() for name in _SOURCES)
    content = b"\0".join((" ".join(_FLAGS).encode(), *files))
    return hashlib.sha256(content).hexdigest()


def _source(name: str) -> Path:
    return Path(__file__).with_name(name)
