"""Yardsticks that others published; see `python run.py bench public --help`."""
