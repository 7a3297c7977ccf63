"""The command line: one module a verb, one way to print what it answers."""

from penjing.cli.main import main

__all__ = ["main"]
