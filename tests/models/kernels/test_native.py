import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from penjing.models.kernels import native
from penjing.models.kernels.native import Native, load_native
from penjing.models.kernels.native_kernels import NativeKernels

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(c) for c in (os.environ.get("CXX", "g++"), "g++", "clang++")),
    reason="no C++ compiler on this machine",
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """As on a machine that never compiled: the folder of its libraries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PENJING_KERNELS", raising=False)
    load_native.cache_clear()
    yield tmp_path / "penjing" / "kernels"
    load_native.cache_clear()


@pytest.fixture
def small_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources that compile in an instant in the place of the kernels."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for name in native._SOURCES:
        (folder / name).write_text("", encoding="utf-8")
    body = "\n".join(f"X void penjing_{name}() {{}}" for name in native._SIGNATURES)
    body += "\nX int penjing_lanes() { return 8; }\nX int penjing_bf16_pairs() { return 0; }\n"
    head = '#define X extern "C" __attribute__((visibility("default")))\n'
    (folder / "kernels.cpp").write_text(head + body, encoding="utf-8")
    monkeypatch.setattr(native, "_source", lambda name: folder / name)
    native._digest_of_sources.cache_clear()
    return folder


@pytest.fixture(autouse=True)
def own_digest() -> Iterator[None]:
    yield
    native._digest_of_sources.cache_clear()


def libraries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.exists() else []


@needs_compiler
def test_the_kernels_compile_and_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a machine: another run of the tests finds them compiled."""
    if os.environ.get("PENJING_KERNELS"):
        monkeypatch.delenv("PENJING_KERNELS")
        monkeypatch.setattr(native, "load_native", cache(load_native.__wrapped__))
    library = native.load_native()
    assert library is not None
    assert re.fullmatch(r"native-[0-9a-f]{12}-(8|16)lanes(-bf16pairs)?", library.digest)
    out = torch.empty(1, 1)
    NativeKernels(library).linear(torch.tensor([[2.0]]), torch.tensor([[3.0]]), None, None, out)
    assert out.item() == 6
    assert native.load_native() is library


@needs_compiler
def test_a_machine_compiles_once(machine: Path, small_sources: Path) -> None:
    first = load_native()
    assert first is not None
    (built,) = libraries(machine)
    before = built.stat().st_mtime_ns
    load_native.cache_clear()
    assert load_native() is not None
    assert libraries(machine) == [built]
    assert built.stat().st_mtime_ns == before


@needs_compiler
def test_other_sources_are_another_library(machine: Path, small_sources: Path) -> None:
    first = load_native()
    (small_sources / "dot.h").write_text("// summed in another order\n", encoding="utf-8")
    load_native.cache_clear()
    native._digest_of_sources.cache_clear()
    second = load_native()
    assert first is not None
    assert second is not None
    assert len(libraries(machine)) == 2
    assert first is not second


@needs_compiler
def test_other_flags_are_another_library(
    machine: Path, small_sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_native()
    assert first is not None
    digest = first.digest
    monkeypatch.setattr(native, "_FLAGS", (*native._FLAGS, "-fno-unroll-loops"))
    load_native.cache_clear()
    native._digest_of_sources.cache_clear()
    second = load_native()
    assert second is not None
    assert second.digest != digest
    assert len(libraries(machine)) == 2


def test_they_can_be_turned_off(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENJING_KERNELS", "torch")
    assert load_native() is None
    assert not libraries(machine)


def test_no_compiler_is_no_error(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert load_native() is None
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    load_native.cache_clear()
    assert load_native() is None


@needs_compiler
def test_sources_that_do_not_compile_are_no_error(machine: Path, small_sources: Path) -> None:
    (small_sources / "kernels.cpp").write_text("not C++", encoding="utf-8")
    assert load_native() is None
    assert not libraries(machine)


@needs_compiler
@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"half a library"])
def test_a_damaged_library_is_no_error(machine: Path, small_sources: Path, content: bytes) -> None:
    """Not loaded before it is damaged: a path that is loaded already is not read again."""
    compiler = native._compiler()
    assert compiler is not None
    built = native._compiled(compiler)
    assert built is not None
    built.write_bytes(content)
    assert load_native() is None


def test_nowhere_to_write_is_no_error(
    tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert load_native() is None


@needs_compiler
def test_an_unknown_kernel_is_named(machine: Path, small_sources: Path) -> None:
    library = load_native()
    assert isinstance(library, Native)
    with pytest.raises(AttributeError, match="no kernel multiply"):
        library.multiply()


@needs_compiler
def test_the_digest_has_what_decides_the_rounding(machine: Path, small_sources: Path) -> None:
    library = load_native()
    assert library is not None
    digest = library.digest
    assert digest.endswith("-8lanes")
    assert digest[7:19] == native._digest_of_sources()[:12]
