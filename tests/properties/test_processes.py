"""Two processes of four devices each, against one device of one process: `tests/processes.py` is what they run."""

import os
import pathlib
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests.processes import DEVICES, MESHES, NAMES, PROCESSES, numbers
from tests.support import assert_close

TIMEOUT = 240
# Sets of the names of the axes come in one order under the first and in the other under the second, as they do in
# processes that start without a seed: programs that follow such an order wait for each other forever.
HASH_SEEDS = "0", "3"


def run_processes(folder):
    """Until they have written their numbers; what they print is shown if one fails."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    flags = f"--xla_backend_optimization_level=0 --xla_force_host_platform_device_count={DEVICES}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    logs = [folder / f"{process}.log" for process in range(PROCESSES)]
    children = []
    try:
        for process, log in enumerate(logs):
            seeded = environment | {"PYTHONHASHSEED": HASH_SEEDS[process]}
            command = [sys.executable, "-m", "tests.processes", address, str(process), str(folder)]
            root = pathlib.Path(__file__).parents[2]
            with log.open("w") as output:
                children.append(
                    subprocess.Popen(command, cwd=root, env=seeded, stdout=output, stderr=subprocess.STDOUT)
                )
        end = time.monotonic() + TIMEOUT
        # One that fails leaves the other waiting.
        while None in (codes := [child.poll() for child in children]) and not any(codes) and time.monotonic() < end:
            time.sleep(0.1)
    finally:
        for child in children:
            child.kill()
            child.wait()
    if codes != [0] * PROCESSES:
        pytest.fail("\n".join([f"exit codes {codes}", *(log.read_text() for log in logs)]), pytrace=False)


def test_two_processes_compute_the_numbers_of_one_device(tmp_path):
    """In value and gradient, and both see the same, whether they have each a part of the batch or of the classes."""
    run_processes(tmp_path)
    for name in NAMES:
        with jax.enable_x64(True):
            expected = numbers(name)
        found = sorted(tmp_path.glob(f"*, {name}, *.npz"))
        assert len(found) == len(MESHES) * PROCESSES
        for path in found:
            with np.load(path) as file:
                assert len(file.files) == len(expected)
                for ours, exact in zip(file.values(), expected, strict=True):
                    try:
                        assert_close(ours, exact, 1e-12)
                    except AssertionError as error:
                        raise AssertionError(path.stem) from error
