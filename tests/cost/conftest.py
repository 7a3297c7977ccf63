from collections.abc import Callable

import pytest

from penjing.cost.engine import ENGINES, Engine
from penjing.cost.layout import Layout
from penjing.cost.roofline import Hardware
from penjing.cost.serving import Instance
from penjing.cost.work import Numerics
from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model

MakeInstance = Callable[..., Instance]


@pytest.fixture(scope="session")
def make_instance() -> MakeInstance:
    """An instance of a bundled model in its own formats; chips as many as the layout has."""

    def make(
        model: str = "Llama-3.2-1B",
        chip: str = "H20",
        layout: Layout | None = None,
        engine: Engine = ENGINES["sglang"],
        draft_depth: float = 0.0,
    ) -> Instance:
        layout = layout or Layout()
        config = load_model(model)
        return Instance(
            model=config,
            layout=layout,
            hardware=Hardware.of(load_catalogue().find(chip).chip, layout.chips),
            numerics=Numerics(weights=config.formats),
            engine=engine,
            draft_depth=draft_depth,
        )

    return make


@pytest.fixture(scope="session")
def small(make_instance: MakeInstance) -> Instance:
    """One chip, one dense model: the least that has a steady state."""
    return make_instance()


@pytest.fixture(scope="session")
def r1(make_instance: MakeInstance) -> Instance:
    """DeepSeek-R1 as it is served on 16 H20: attention data-parallel, experts spread."""
    return make_instance("DeepSeek-R1", layout=Layout(data=16, expert=16))
