"""`python -m benchmarks.quality`."""

from .main import main

if __name__ == "__main__":
    raise SystemExit(main())
