"""The small models that the engine is tested with."""

from tests.engine.conftest import (  # noqa: F401, fixtures
    decoder,
    engine,
    folder,
    one_thread,
    plan,
    tokenizer,
)
