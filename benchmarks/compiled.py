"""What XLA compiles for a TPU or a GPU that is not there, and what it counts in it: bytes, memory, products.

Needs the extra `accelerators`. `import benchmarks.compiled` before JAX meets a device: it sets what the compilers read.
"""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# No metadata server is asked for TPUs, and none of NVIDIA's tools is asked to time kernels.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"

import jax  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import SingleDeviceSharding  # noqa: E402
from jaxlib import _jax  # noqa: E402  # pyright: ignore[reportAttributeAccessIssue] the analysis has no public name

from benchmarks.hlo import Module

PLATFORMS = ("tpu", "gpu")
V5E = "v5e:2x2"
H100 = Path(__file__).with_name("h100.txtpb")


@dataclass(frozen=True)
class Count:
    """What one call costs by the compiler's count."""

    # Bytes read and written, each operation's operands and results; temporaries at one time; operations of products.
    accessed: float
    temporaries: int
    products: float
    # Bytes that collectives receive.
    sent: float
    has_loops: bool
    text: str


@functools.cache
def devices(platform: str, topology: str = V5E, target: Path = H100) -> Sequence[Any]:
    """The devices of a machine that need not be there."""
    if platform == "tpu":
        return topologies.get_topology_desc(topology, platform="tpu").devices
    described = topologies.get_topology_desc(
        target.stem, platform="cuda", topology="1x1x1", target_config=target.read_text()
    )
    return described.devices


def compile_for(device: Any, function: Callable[..., Any], arrays: Sequence[jax.ShapeDtypeStruct]) -> Any:
    """The function compiled for one device, whose arrays all lie there."""
    there = SingleDeviceSharding(device)
    placed = [jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=there) for array in arrays]
    return jax.jit(function).trace(*placed).lower().compile()


def count(compiled: Any) -> Count:
    """XLA's own count of bytes, where no loop hides what it repeats; else that of the compiled text."""
    text = compiled.as_text()
    module = Module(text)
    accessed = module.accessed() if module.has_loops else _counted_by_xla(compiled)
    temporaries = compiled.memory_analysis().temp_size_in_bytes
    return Count(accessed, temporaries, module.products(), module.sent(), module.has_loops, text)


def _counted_by_xla(compiled: Any) -> float:
    try:
        counted = compiled.cost_analysis()
    except NotImplementedError:
        counted = None
    if counted is None:  # A GPU's executable does not say; the analysis of its optimised module does.
        (module,) = compiled.runtime_executable().hlo_modules()
        counted = _jax.hlo_module_cost_analysis(jax.devices("cpu")[0].client, module)
    return counted["bytes accessed"]
