"""``python -m penjing`` is ``penjing``."""

from penjing.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
