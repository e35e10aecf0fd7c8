import importlib.util
import os

import hypothesis

# Compiling takes most of the time, and most tests do not ask for XLA's best: those of numbers do, see `support.py`.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

# PyTorch is the `parity` extra: without it the suite is whole, not skipped.
collect_ignore = [] if importlib.util.find_spec("torch") else ["parity", "wall/test_known_bugs_in_pytorch.py"]

# The same draws every time, and no deadline: the first call of a shape compiles.
hypothesis.settings.register_profile("jaxloss", deadline=None, derandomize=True, max_examples=15)
hypothesis.settings.load_profile("jaxloss")
