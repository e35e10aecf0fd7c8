import collections
import gc
import importlib.util
import os
from typing import Any

import hypothesis
import hypothesis.strategies
import jaxtyping
import pytest

# Compiling takes most of the time, and most tests do not ask for XLA's best: those of numbers do, see `support.py`.
# Eight devices are there for the tests of meshes; the others use one of them.
FLAGS = "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"

from tests import annotations  # noqa: E402 the flags come first

annotations.enforce()

# PyTorch is the `parity` extra: without it the suite is whole, not skipped.
collect_ignore = [] if importlib.util.find_spec("torch") else ["parity", "wall/test_known_bugs_in_pytorch.py"]
if not importlib.util.find_spec("pytorch_metric_learning"):
    collect_ignore.append("parity/test_metric_learning.py")
if not importlib.util.find_spec("monai"):
    collect_ignore.append("parity/test_segmentation_elsewhere.py")


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true", help="all variants, dtypes and samples: see docs/tests.md")


def pytest_configure(config):
    # Tests read it when they are collected: `tests/support.py`.
    thorough = config.getoption("thorough", default=False) or bool(os.environ.get("JAXLOSS_THOROUGH"))
    os.environ["JAXLOSS_THOROUGH"] = "1" if thorough else ""
    # The same draws every time, and no deadline: the first call of a shape compiles.
    examples = 4 if thorough else 2
    hypothesis.settings.register_profile("jaxloss", deadline=None, derandomize=True, max_examples=examples)
    hypothesis.settings.load_profile("jaxloss")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: Any, items: Any) -> None:
    """Tests of one record go to one worker, because they share what is compiled; products of parameters are thinned.

    By default the first product of each test of a family is taken, and of each that is marked.
    """
    thorough = os.environ["JAXLOSS_THOROUGH"]
    counts, left_out = collections.Counter(), []
    for item in items:
        case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
        if record := getattr(case, "record", None):
            item.add_marker(pytest.mark.xdist_group(record.name))
        one_in = item.get_closest_marker("one_in")
        if one_in or (not thorough and "families" in item.path.parts):
            taken = counts[item.function] % one_in.args[0] == 0 if thorough else not counts[item.function]
            if not taken:
                left_out.append(item)
            counts[item.function] += 1
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_collection_finish():
    # Hypothesis asks the garbage collector who holds its generator of random numbers, and must not ask in vain.
    hypothesis.given(hypothesis.strategies.none())(lambda _: None)()
    # Collections of garbage need not go through what stays until the end.
    gc.freeze()


@pytest.fixture
def without_annotations():
    """For calls that the annotations exclude and that are accepted all the same."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def frozen():
    """What is alive already is not searched for references: that takes a second for each trace.

    It stays frozen, so that no later collection goes through what has been compiled so far.
    """
    gc.freeze()


def pytest_ignore_collect(collection_path, config):
    """PyTorch's own samples take a minute and a half."""
    return True if collection_path.match("parity/test_samples.py") and not config.getoption("thorough") else None
