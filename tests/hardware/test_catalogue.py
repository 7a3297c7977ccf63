"""The catalogue: complete, sourced, plausible, and found by every name people use."""

import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from penjing.errors import BadFile, UnknownName
from penjing.hardware.catalogue import Catalogue, load_catalogue
from penjing.hardware.chip import Chip, Confidence
from penjing.hardware.precision import Precision

CATALOGUE = load_catalogue()
BY_NAME = pytest.mark.parametrize("chip", CATALOGUE.chips, ids=lambda c: c.name)

# The rows of the table of chips that the catalogue was first filled from.
COLLECTED = """
A100 40GB SXM|A100 80GB SXM|A100 80GB PCIe|A800 80GB SXM|A800 40GB|H100 SXM|H100 PCIe|H100 NVL
H800 SXM|H800 PCIe|H20 96GB|H20-3e 141GB|H200 SXM|H200 NVL|GH200|L2|L4|L20|L40|L40S|RTX 4090
RTX 4090D|RTX 5090|RTX 5090D|RTX PRO 6000 Blackwell Server|RTX PRO 6000D (B40)|B200|B300|GB200
GB300|B30A|VR200 (Vera Rubin NVL72)|MI250X|MI300X|MI308X|MI325X|MI350X|MI355X|Gaudi2
Gaudi3 (HL-325L)|Gaudi3 HL-328|Gaudi3 HL-388|Arc Pro B60|TPU v5e|TPU v5p|TPU v6e (Trillium)
TPU7x (Ironwood)|Trainium2|Trainium3|Ascend 910A|Ascend 910B1|Ascend 910B2|Ascend 910B3
Ascend 910B4|Ascend 910C (752T)|Ascend 910C (560T)|Ascend 950PR (Server bin)
Atlas 350 (425T, 112G)|Ascend 950DT|Ascend 960|Ascend 970|MLU370-X8|MLU590 (Siyuan 590)|K100_AI
BW1000|BW1100|MTT S4000|MTT S5000|BR100|BR104|BR106 / 104P|S60|MetaX C500|MetaX C550|Kunlun P800
T-Head PPU|Iluvatar BI150|M3 Ultra|M4 Max|M2 Ultra|EPYC 9755 / 9965 (1 socket)
EPYC 9654 (1 socket)|Xeon 6980P (1 socket)
"""
# Labels of published measurements, and which part each means.
MEASURED = {
    "1x Xeon 6980P (1 socket of 2)": "Xeon 6980P",
    "1x Xeon 6980P (MRDIMM-8800)": "Xeon 6980P",
    "2x Xeon 6980P (MRDIMM-8800)": "Xeon 6980P",
    "A100 PCIe 80GB": "A100 80GB PCIe",
    "A100 SXM 40GB": "A100 40GB SXM",
    "A100 SXM 80GB": "A100 80GB SXM",
    "A40": "A40",
    "A800": "A800 80GB SXM",
    "A800 40GB": "A800 40GB SXM",
    "A800 SXM 80GB": "A800 80GB SXM",
    "AMD Ryzen AI Max+ 395 (CPU only)": "Ryzen AI Max 395",
    "AmpereOne A192-32X (CPU, 512GB)": "AmpereOne A192-32X",
    "Apple M1 Max (32c GPU)": "M1 Max",
    "Apple M1 Ultra (48c, 64GB)": "M1 Ultra",
    "Apple M2 Ultra (76c GPU, 192GB)": "M2 Ultra",
    "Apple M3 Max (40c GPU)": "M3 Max",
    "Apple M3 Ultra (512GB)": "M3 Ultra",
    "Arc Pro B50": "Arc Pro B50",
    "Arc Pro B60": "Arc Pro B60",
    "Arc Pro B70": "Arc Pro B70",
    "Ascend 910B": "Ascend 910B2",
    "Ascend 910B (Atlas A2)": "Ascend 910B2",
    "Ascend 910C": "Ascend 910C",
    "Ascend 910C (Atlas A3, 64GB dies)": "Ascend 910C die",
    "Ascend Atlas 800T A2 (910B)": "Ascend 910B2",
    "CPU Intel Xeon 6787P": "Xeon 6787P",
    "CPU Intel Xeon 6980P": "Xeon 6980P",
    "CPU Intel Xeon 6987P-C": "Xeon 6987P-C",
    "DGX Spark GB10": "GB10",
    "GH200 144GB": "GH200",
    "H100 (96GB HBM2e 2.4TB/s, 500W)": "H100 96GB HBM2e",
    "H20 96GB": "H20",
    "H20-3e 141GB": "H20-3e",
    "H200 SXM (1000W CTS)": "H200 SXM",
    "H200 SXM (virtualized)": "H200 SXM",
    "MI355X (1000W cap)": "MI355X",
    "RTX 3090": "RTX 3090",
    "RTX 6000 Ada": "RTX 6000 Ada",
    "RTX A6000": "RTX A6000",
    "RTX PRO 4500": "RTX PRO 4500",
    "RTX PRO 6000 BSE": "RTX PRO 6000",
    "TPU v6e (Trillium)": "TPU v6e",
    "VR200 (Vera Rubin NVL72)": "VR200",
}
FAMILY_DEFAULTS = {
    "H20": "H20",
    "A100": "A100 80GB SXM",
    "A800": "A800 80GB SXM",
    "H100": "H100 SXM",
    "H200": "H200 SXM",
    "H800": "H800 SXM",
    "910B": "Ascend 910B2",
    "910C": "Ascend 910C",
    "Gaudi3": "Gaudi3",
    "RTX PRO 6000": "RTX PRO 6000",
}
# bf16, fp8, int8 TFLOP/s dense; GiB; memory GB/s; fabric GB/s one way. None: not published.
GOLDEN = {
    "H20": (148, 296, 296, 96, 4000, 450),  # Epoch AI, LLM-Prof
    "H20-3e": (148, 296, 296, 141, 4800, 450),  # LLM-Prof, Mooncake
    "H100 SXM": (989.4, 1979, 1979, 80, 3350, 450),  # NVIDIA H100 datasheet
    "H800 SXM": (989.4, 1979, 1979, 80, 3350, 200),  # Epoch AI
    "H200 SXM": (989.5, 1979, 1979, 141, 4800, 450),  # NVIDIA H200 datasheet
    "A100 80GB SXM": (312, None, 624, 80, 2039, 300),  # NVIDIA A100 datasheet
    "A800 80GB SXM": (312, None, 624, 80, 2039, 200),  # Epoch AI
    "L20": (119.5, 239, 239, 48, 864, 32),  # Epoch AI
    "L40S": (362.05, 733, 733, 48, 864, 32),  # NVIDIA L40S datasheet
    "RTX 4090": (165.2, 330.3, 660.6, 24, 1008, 32),  # NVIDIA Ada whitepaper, FP32 accumulate
    "B200": (2250, 4500, 4500, 180, 7700, 900),  # NVIDIA B200 datasheet
    "MI300X": (1307.4, 2614.9, 2614.9, 192, 5300, 448),  # AMD MI300X data sheet
    "Ascend 910B2": (353.9, None, 752, 64, 1600, 196),  # Huawei msmodeling, Cube only
    "Ascend 910C": (707.8, None, 1504, 128, 3200, 392),  # Huawei msmodeling, two dies
}


def value(chip: Chip, figure: str) -> float | None:
    found = chip.figures().get(figure)
    return found.value if found else None


@pytest.mark.parametrize("name", COLLECTED.strip().replace("\n", "|").split("|"))
def test_every_collected_chip_is_there(name: str) -> None:
    assert CATALOGUE.find(name).chip in CATALOGUE.chips


@pytest.mark.parametrize(("label", "name"), MEASURED.items())
def test_labels_of_measurements_mean_one_part(label: str, name: str) -> None:
    assert CATALOGUE.find(label).chip.name == name


@pytest.mark.parametrize(("family", "name"), FAMILY_DEFAULTS.items())
def test_a_bare_family_means_its_usual_member(family: str, name: str) -> None:
    match = CATALOGUE.find(family)
    assert match.chip.name == name
    assert match.note.startswith(f"{family} is the {match.chip.variant} part; ")


@BY_NAME
def test_every_family_can_be_asked_for(chip: Chip) -> None:
    assert CATALOGUE.find(chip.family).chip.family == chip.family


@pytest.mark.parametrize(("name", "expected"), GOLDEN.items())
def test_golden_figures(name: str, expected: tuple[float | None, ...]) -> None:
    chip = CATALOGUE.find(name).chip
    bf16, fp8, int8, gib, memory, fabric = expected
    assert value(chip, "bf16_flops_per_s") == (bf16 and pytest.approx(bf16 * 1e12))
    assert value(chip, "fp8_flops_per_s") == (fp8 and pytest.approx(fp8 * 1e12))
    assert value(chip, "int8_flops_per_s") == (int8 and pytest.approx(int8 * 1e12))
    assert value(chip, "memory_bytes") == (gib and gib * 2**30)
    assert value(chip, "memory_bytes_per_s") == (memory and pytest.approx(memory * 1e9))
    assert value(chip, "fabric_bytes_per_s") == (fabric and pytest.approx(fabric * 1e9))


def test_the_memory_of_a_b300_is_what_its_driver_offers() -> None:
    assert CATALOGUE.find("B300").chip.capacity_bytes == 275040 * 2**20
    assert CATALOGUE.find("GB300").chip.capacity_bytes == 284208 * 2**20


def test_a_910c_is_two_of_its_dies() -> None:
    package, die = (CATALOGUE.find(n).chip.figures() for n in ("910C", "910C die"))
    same = ("bf16_flops_per_s", "int8_flops_per_s", "memory_bytes", "memory_bytes_per_s")
    for name in (*same, "fabric_bytes_per_s", "network_bytes_per_s", "power_w"):
        assert package[name].value == pytest.approx(2 * die[name].value), name


def test_china_variants_keep_compute_and_lose_links() -> None:
    for cut, whole in (("H800 SXM", "H100 SXM"), ("A800 80GB SXM", "A100 80GB SXM")):
        ours, theirs = (CATALOGUE.find(n).chip.figures() for n in (cut, whole))
        assert ours["bf16_flops_per_s"].value == theirs["bf16_flops_per_s"].value
        assert ours["fabric_bytes_per_s"].value == 200e9 < theirs["fabric_bytes_per_s"].value


def test_an_h20_node_of_ant_has_a_network_card_for_two_chips() -> None:
    assert value(CATALOGUE.find("H20").chip, "network_bytes_per_s") == 4 * 400e9 / 8 / 8


@BY_NAME
def test_every_figure_is_sourced(chip: Chip) -> None:
    for name, figure in chip.figures().items():
        assert figure.source, name
        assert all(chip.sources[key] for key in figure.source), name
        assert figure.confidence is not Confidence.MEASURED, "a datasheet holds no timings of ours"


@BY_NAME
def test_compute_is_dense_not_sparse(chip: Chip) -> None:
    """Halving the operand at most doubles a rate, or quadruples it past FP32 accumulation."""
    rate = {p: f.value for p, f in chip.compute_flops_per_s.items()}
    bf16 = rate.get(Precision.BF16)
    steps = [
        (bf16, rate.get(Precision.FP8), 2.03),
        (rate.get(Precision.FP8), rate.get(Precision.FP4), 4.01),
        (bf16, rate.get(Precision.FP4), 8.01),
    ]
    if chip.family not in ("B300", "GB300"):  # their INT8 is cut to almost nothing
        steps.append((bf16, rate.get(Precision.INT8), 4.01))
    if chip.name == "Trainium3":  # AWS gives its FP8 at 3.75 times its BF16
        steps[0] = (bf16, rate.get(Precision.FP8), 3.76)
    for wide, narrow, most in steps:
        if wide and narrow:
            assert 1 <= narrow / wide <= most


@BY_NAME
def test_figures_lie_in_plausible_bounds(chip: Chip) -> None:
    bounds = {
        "bf16_flops_per_s": (5e13, 3e15),
        "memory_bytes": (16 * 2**30, 512 * 2**30),
        "memory_bytes_per_s": (2e11, 1.5e13),
        "fabric_bytes_per_s": (3e10, 2e12),
        "network_bytes_per_s": (1e10, 1.1e11),
        "power_w": (50, 2500),
        "die_area_mm2": (250, 1100),
        "price_usd": (300, 40_000),
        "rental_usd_per_h": (0.5, 5),
    }
    for name, (least, most) in bounds.items():
        figure = chip.figures().get(name)
        assert figure is None or least <= figure.value <= most, name
    assert chip.node_chips in (1, 2, 4, 8, 16, 72)
    assert 2019 <= chip.year <= 2028


@BY_NAME
def test_where_compute_is_unpublished_the_first_note_says_so(chip: Chip) -> None:
    if not chip.compute_flops_per_s:
        assert chip.notes


def test_no_two_chips_share_a_spelling() -> None:
    owners: dict[str, set[str]] = {}
    for chip in CATALOGUE.chips:
        for spelling in (chip.name, *chip.aliases):
            folded = spelling.lower().replace(" ", "").replace("-", "").replace("_", "")
            owners.setdefault(folded, set()).add(chip.name)
    assert {s: names for s, names in owners.items() if len(names) > 1} == {}
    assert len(owners) > 2 * len(CATALOGUE.chips)


def test_every_file_is_a_chip() -> None:
    folder = files("penjing.hardware") / "chips"
    assert len(list(folder.iterdir())) == len(CATALOGUE.chips) > 100


@pytest.mark.parametrize("name", ["H20-3e", "h20 3E", "H20_3e", "h203e", " H20-3e "])
def test_case_spaces_dashes_and_underscores_do_not_matter(name: str) -> None:
    assert CATALOGUE.find(name).chip.name == "H20-3e"


def test_the_note_names_the_other_members() -> None:
    assert CATALOGUE.find("h20").note == "H20 is the 96 GB part; H20-3e (141 GB) also exists"
    assert CATALOGUE.find("910b").note == (
        "910b is the 376T bin, 64 GB part; Ascend 910B1 (400T bin, 64 GB), "
        "Ascend 910B3 (313T bin, 64 GB), Ascend 910B4 (280T bin, 32 GB) also exist"
    )


@pytest.mark.parametrize("name", ["H20-3e", "H20 96GB", "MI300X", "A100 80GB PCIe"])
def test_a_name_that_leaves_no_choice_has_no_note(name: str) -> None:
    assert CATALOGUE.find(name).note == ""


def test_an_unknown_chip_offers_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        CATALOGUE.find("MI300")
    assert str(caught.value) == (
        "unknown chip 'MI300'; nearest: MI300X, AMD Instinct MI300X, MI350X, MI308X; "
        "`penjing chips list` shows all"
    )


@pytest.mark.parametrize("name", ["", "   ", "zzzzzzzz"])
def test_nonsense_is_told_where_to_look(name: str) -> None:
    with pytest.raises(UnknownName, match=r"known: A100 40GB SXM, .* and \d+ more; `penjing"):
        CATALOGUE.find(name)


def test_two_chips_with_one_alias_are_refused() -> None:
    h20 = CATALOGUE.find("H20").chip
    thief = replace(CATALOGUE.find("L20").chip, aliases=("h20 96gb",))
    with pytest.raises(BadFile, match=r"^'h20 96gb' names both H20 and L20$"):
        Catalogue(chips=(h20, thief))


def test_a_chip_file_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text('name="Mine"\nvendor="Me"\narchitecture="m"\nyear=2026\n[memory]\ntype="DDR5"')
    assert CATALOGUE.find(str(own)).chip.name == "Mine"
    own.write_text('nam="Mine"')
    with pytest.raises(UnknownName, match=r"^unknown key in .*mine\.toml 'nam'; nearest: name$"):
        CATALOGUE.find(str(own))


def test_a_chip_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"none\.toml: cannot be read \(No such file or directory\)"):
        CATALOGUE.find(str(tmp_path / "none.toml"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match=r"binary\.toml: not a text file in UTF-8$"):
        CATALOGUE.find(str(binary))


def test_the_catalogue_is_read_once_and_fast() -> None:
    assert load_catalogue() is CATALOGUE
    seconds = []
    for _ in range(3):
        start = time.process_time()
        assert load_catalogue.__wrapped__() == CATALOGUE
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.15
