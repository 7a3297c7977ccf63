import json

import pytest

from penjing.cli import main
from penjing.cli.chips import ridge_flops_per_byte
from penjing.hardware.catalogue import load_catalogue


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["chips", *words])
    out, err = capsys.readouterr()
    return status, out, err


def test_list_has_a_line_for_every_chip(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list")
    chips = load_catalogue().chips
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split()[:3] == ["name", "vendor", "year"]
    assert lines[-1] == f"{len(chips)} chips; - is not published"
    assert [line for line in lines if line.startswith("H20 ")] == [
        next(line for line in lines if line.startswith("H20 "))
    ]
    assert next(line for line in lines if line.startswith("H20 ")).split()[1:] == [
        *("NVIDIA", "2023", "148", "296", "296", "96", "4000", "450", "400", "-")
    ]


def test_the_unpublished_is_a_dash_never_a_zero(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "list", "--vendor", "enflame")
    row = next(line for line in out.splitlines() if line.startswith("S60"))
    assert row.split()[3:] == ["-"] * 8


def test_sorted_by_a_figure_the_unpublished_come_last(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "list", "--sort", "memory", "--json")
    sizes = [c["figures"].get("memory_bytes", {}).get("value") for c in json.loads(out)["chips"]]
    known = [s for s in sizes if s is not None]
    assert known == sorted(known, reverse=True)
    assert sizes[: len(known)] == known


def test_an_unknown_vendor_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "list", "--vendor", "Nvidea")
    assert (status, out) == (2, "")
    assert err == "penjing chips: unknown vendor 'Nvidea'; nearest: NVIDIA\n"


@pytest.mark.parametrize("words", [("list", "--json"), ("--json", "list")])
def test_json_may_stand_before_or_after_the_subcommand(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    status, out, _ = run(capsys, *words)
    document = json.loads(out)
    assert status == 0
    assert len(document["chips"]) == len(load_catalogue().chips)


def test_json_carries_si_values_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "H20", "--json")
    document = json.loads(out)
    bandwidth = document["figures"]["memory_bytes_per_s"]
    assert bandwidth["value"] == 4e12
    assert (bandwidth["text"], bandwidth["confidence"]) == ("4000 GB/s", "press")
    assert set(bandwidth["source"]) <= set(document["sources"])
    assert document["ridge_flops_per_byte"] == 37
    assert document["choice"] == "H20 is the 96 GB part; H20-3e (141 GB) also exists"


def test_show_gives_every_figure_note_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "h20")
    chip = load_catalogue().find("H20").chip
    for name, figure in chip.figures().items():
        row = next(line for line in out.splitlines() if line.startswith(f"{name} "))
        assert figure.text in row
        assert figure.confidence in row
        assert ", ".join(figure.source) in row
    assert all(note in out for note in chip.notes)
    assert all(text in out for text in chip.sources.values())
    assert "ridge point: 37 FLOP a byte" in out


def test_compare_gives_ratios_to_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "compare", "H20", "H800", "MLU590")
    rows = {line[:12].strip(): line[12:].split() for line in out.splitlines() if line[:12].strip()}
    assert rows["BF16 TFLOP/s"] == ["148", "989.4", "(6.69x)", "345", "(2.33x)"]
    assert rows["memory GB/s"] == ["4000", "3350", "(0.84x)", "-"]
    assert "H800 is the SXM5 80 GB part; H800 PCIe (PCIe 80 GB) also exists" in out


def test_compare_json_marks_what_cannot_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "compare", "MLU590", "H20", "--json")
    ratios = json.loads(out)["ratios_to_first"]
    assert ratios["bf16_flops_per_s"] == [1.0, pytest.approx(148 / 345)]
    assert ratios["memory_bytes_per_s"] == [None, None]


def test_an_unknown_chip_exits_with_two_and_a_json_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err = run(capsys, "show", "H2O", "--json")
    assert status == 2
    assert json.loads(out)["error"]["type"] == "UnknownName"
    assert "nearest: H20" in err


def test_a_chip_without_bf16_has_no_ridge() -> None:
    catalogue = load_catalogue()
    assert ridge_flops_per_byte(catalogue.find("S60").chip) is None
    assert ridge_flops_per_byte(catalogue.find("MLU590").chip) is None
    assert ridge_flops_per_byte(catalogue.find("H100").chip) == pytest.approx(295.3, abs=0.1)
