"""Speak."""

from penjing.engine.completion import Completion, Delta, Finish
from penjing.engine.engine import Engine
from penjing.engine.sampling import Sampling

__all__ = ["Completion", "Delta", "Engine", "Finish", "Sampling"]
