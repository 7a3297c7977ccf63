"""DeepSeek-R1 planned, trained and served on the hardware one can actually get."""

__version__ = "0.1.0"
