"""Benchmarks: the project and what it is measured against, interleaved in one run."""
