"""Benchmarks of stg_attr: `python run.py bench`."""
