"""What XLA compiles for a TPU or a GPU that is not there, and what it counts in it: bytes, memory, products.

Needs the extra `accelerators`. No device is met but the CPU.
"""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from jaxlib import _jax  # pyright: ignore[reportAttributeAccessIssue] the analysis has no public name

from benchmarks import hlo

PLATFORMS = ("tpu", "gpu")
V5E = "v5e:2x2"
H100 = Path(__file__).with_name("h100.txtpb")
# As users compile, whatever flags are set; but no kernel is timed, which would take a GPU.
OPTIONS = {"tpu": {}, "gpu": {"xla_backend_optimization_level": 3, "xla_gpu_autotune_level": 0}}
# Nobody is asked which TPU this is.
os.environ |= {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_STDERR_LOG_LEVEL": "3",
}


class MissingCompilerError(Exception):
    """The extra `accelerators` is not installed, or only a part of it."""


@dataclass(frozen=True)
class Count:
    """What one call costs by the compiler's count."""

    # Bytes that operations read and write; bytes held at one time besides arguments and results.
    accessed: float
    temporaries: int
    # Additions and multiplications of products of matrices, and bytes of the results of collectives.
    products: float
    sent: float


@functools.cache
def devices(platform: str, topology: str = V5E, target: Path = H100) -> Sequence[Any]:
    """The devices of a machine that need not be there."""
    try:
        if platform == "tpu":
            return topologies.get_topology_desc(topology, platform="tpu").devices
        described = topologies.get_topology_desc(
            target.stem, platform="cuda", topology="1x1x1", target_config=target.read_text()
        )
        return described.devices
    except Exception as error:
        raise MissingCompilerError(f"No compiler for a {platform}: pip install 'jaxloss[accelerators]'") from error


def compile_for(device: Any, function: Callable[..., Any], arrays: Sequence[jax.ShapeDtypeStruct]) -> Any:
    """The function compiled for one device, where all arrays lie."""
    there = SingleDeviceSharding(device)
    placed = [jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=there) for array in arrays]
    return jax.jit(function).trace(*placed).lower().compile(OPTIONS["tpu" if device.platform == "tpu" else "gpu"])


def count(compiled: Any) -> Count:
    """XLA's own count of bytes; where a loop hides what it repeats, that of the text."""
    module = hlo.Module(compiled.as_text())
    accessed = module.accessed() if module.has_loops else _counted_by_xla(compiled)
    return Count(accessed, compiled.memory_analysis().temp_size_in_bytes, module.products(), module.sent())


def _counted_by_xla(compiled: Any) -> float:
    counted = compiled.cost_analysis()
    if counted is None:  # A GPU's executable does not say; the analysis of its optimised module does.
        (module,) = compiled.runtime_executable().hlo_modules()
        counted = _jax.hlo_module_cost_analysis(jax.devices("cpu")[0].client, module)
    return counted["bytes accessed"]
