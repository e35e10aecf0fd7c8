"""This library against its peers, in time and memory: `python -m benchmarks`."""
