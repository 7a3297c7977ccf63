import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from penjing.models.provenance import configs_folder

Raw = dict[str, Any]


@pytest.fixture(scope="session")
def bundled() -> Callable[[str], Raw]:
    """The bundled config.json of that name, a fresh copy each time."""
    cache: dict[str, Raw] = {}

    def read(name: str) -> Raw:
        if name not in cache:
            cache[name] = json.loads((configs_folder() / f"{name}.json").read_text("utf-8"))
        return copy.deepcopy(cache[name])

    return read
