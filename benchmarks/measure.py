"""Time and memory of every contender of a row, each in turn."""

import functools
import importlib
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxloss
from benchmarks.rows import Row, Size
from tests.catalogue.record import Arrays

Device = Any  # pyright takes jax.Device for a variable

OURS, KERNEL, PLAIN, OPTAX, TOKAMAX, EAGER, COMPILED = (
    "jaxloss",
    "kernel",
    "jnp",
    "optax",
    "tokamax",
    "torch",
    "torch.compile",
)
PEERS = (PLAIN, OPTAX, EAGER, COMPILED, TOKAMAX)
# Seconds: shorter calls are timed several at a time, and longer ones without a call before them that warms up.
SHORTEST, LONGEST = 2e-3, 0.1
# How far a peer may be from our value and first gradient, relatively. In half precision kinks are hit elsewhere.
TOLERANCE = {"float32": 0.01, "bfloat16": 0.3}
# A row that has taken its seconds still gets this many rounds: fewer have no quartiles.
FEWEST_ROUNDS = 3


class UnavailableError(Exception):
    """Why a contender does not run."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the median of the rounds and its quartiles."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def noise(self) -> float:
        """Half the distance of the quartiles."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Result:
    """One row at one size in one dtype."""

    loss: str
    size: Size
    dtype: str
    # Bytes of the arrays, of the first of them, and of all gradients.
    inputs: int
    pred: int
    gradients: int
    timings: dict[str, Timing]
    # Bytes that a compiled JAX function holds besides its arguments and results; known of what was too large to run.
    temporaries: dict[str, int]
    skipped: dict[str, str]

    @property
    def name(self) -> str:
        return label(self.loss, self.size)

    def best(self, *names: str) -> tuple[str, Timing] | None:
        """The fastest of those that ran."""
        ran = [(name, self.timings[name]) for name in names or PEERS if name in self.timings]
        return min(ran, key=lambda peer: peer[1].median, default=None)

    def ratio(self, other: Timing | None) -> float | None:
        """Our time over another."""
        ours = self.timings.get(OURS)
        return ours.median / other.median if ours and other else None


def label(loss: str, size: Size) -> str:
    return f"{loss} {'x'.join(map(str, size))}"


@dataclass(frozen=True)
class Contender:
    """One way to compute value and gradients."""

    call: Callable[[], Any]
    wait: Callable[[Any], Any] = jax.block_until_ready
    # Bytes, of what JAX has compiled: what it holds meanwhile, and that with its results.
    temporaries: int | None = None
    need: int | None = None


def available_memory(device: Device) -> float:
    """Bytes that can still be had; infinity where nobody tells."""
    stats = None if device.platform == "cpu" else device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    meminfo = Path("/proc/meminfo")
    if device.platform == "cpu" and meminfo.exists():
        fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
        return 1024 * int(fields["MemAvailable"].split()[0])
    return math.inf


def require_memory(need: float, device: Device) -> None:
    available = 0.9 * available_memory(device)
    if need > available:
        raise UnavailableError(f"it needs {need / 1e9:.1f} GB, {available / 1e9:.1f} GB are there")


def kernel(gradients: Sequence[int]) -> Callable[..., Any]:
    """Reads every array once, writes arrays of the shapes of the gradients, and gives a sum of it all."""

    def read_and_write(*arrays: jax.Array) -> Any:
        total: dict[Size, Any] = dict.fromkeys((array.shape for array in arrays), 0.0)
        for array in arrays:
            # In float32, as the losses compute: in half precision XLA would round each step, which takes longer.
            total[array.shape] += array.astype(jnp.float32)
        written = tuple((total[arrays[i].shape] * (i + 2)).astype(arrays[i].dtype) for i in gradients)
        unwritten = [array for shape, array in total.items() if shape not in [gradient.shape for gradient in written]]
        # The sum of what is written costs no second pass over what is read.
        return sum(jnp.sum(array, dtype=jnp.float32) for array in (*written, *unwritten)), written

    return read_and_write


def in_jax(function: Callable[..., Any], arrays: Sequence[jax.Array]) -> Contender:
    compiled = jax.jit(function).lower(*arrays).compile()
    memory = compiled.memory_analysis()
    temporaries = memory.temp_size_in_bytes if memory else None
    need = memory.temp_size_in_bytes + memory.output_size_in_bytes if memory else None
    return Contender(lambda: compiled(*arrays), temporaries=temporaries, need=need)


def in_torch(row: Row, arrays: Sequence[jax.Array], device: Device, compiled: bool) -> Contender:
    """On the same memory, but for integers: PyTorch wants its own int64."""
    torch = namespace("torch")
    if device.platform not in ("cpu", "gpu") or (device.platform == "gpu" and not torch.cuda.is_available()):
        raise UnavailableError(f"torch sees no {device.platform}")
    if compiled and (reason := why_torch_cannot_compile()):
        raise UnavailableError(reason)
    tensors = [torch.from_dlpack(array) for array in arrays]
    tensors = [tensor if tensor.is_floating_point() else tensor.long() for tensor in tensors]
    wrt = [tensors[position].requires_grad_() for position in row.gradients]
    function = row.in_torch(torch)
    if compiled:
        # What it keeps of other rows would count against its limit of recompilations.
        torch._dynamo.reset()
        function = torch.compile(function, dynamic=False)

    def call() -> Any:
        value = function(*tensors)
        return value.detach(), torch.autograd.grad(value, wrt)

    return Contender(call, lambda _: torch.cuda.synchronize() if device.platform == "gpu" else None)


def namespace(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnavailableError(f"{name} cannot be imported") from error


@functools.cache
def why_torch_cannot_compile() -> str | None:
    """It needs a C++ compiler, which may be missing or not to its liking."""
    torch = namespace("torch")
    try:
        torch.compile(lambda x: (x**2).mean())(torch.ones(8, requires_grad=True)).backward()
    except Exception as error:
        return f"torch.compile fails: {first_line(error)}"
    return None


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:160]


def contenders(
    row: Row, arrays: Sequence[jax.Array], device: Device, compiles: bool
) -> dict[str, Callable[[], Contender]]:
    """How each is built, which takes long or may fail."""

    def peer(function: Callable[..., Any], name: str) -> Callable[[], Contender]:
        return lambda: differentiated(functools.partial(function, namespace(name)))

    def differentiated(function: Callable[..., Any]) -> Contender:
        return in_jax(jax.value_and_grad(function, row.gradients), arrays)

    builds = {
        OURS: lambda: differentiated(row.ours),
        KERNEL: lambda: in_jax(kernel(row.gradients), arrays),
        PLAIN: peer(row.benchmark.plain, "jax.numpy"),
        EAGER: lambda: in_torch(row, arrays, device, compiled=False),
    }
    if compiles:
        builds[COMPILED] = lambda: in_torch(row, arrays, device, compiled=True)
    if row.benchmark.optax:
        builds[OPTAX] = peer(row.benchmark.optax, "optax.losses")
    if row.benchmark.tokamax:
        builds[TOKAMAX] = peer(row.benchmark.tokamax, "tokamax")
    return builds


def distance(ours: Any, theirs: Any) -> float:
    """The larger of the relative errors of the value and of the first gradient."""

    def error(one: jax.Array, other: jax.Array) -> float:
        one, other = (jnp.ravel(array).astype(jnp.float32) for array in (one, other))
        return float(jnp.linalg.norm(one - other) / jnp.linalg.norm(one))

    return max(error(ours[0], jnp.from_dlpack(theirs[0])), error(ours[1][0], jnp.from_dlpack(theirs[1][0])))


def measure(
    row: Row, size: Size, dtype: str, drawn: Arrays, device: Device, rounds: int, seconds: float, compiles: bool
) -> Result:
    """Every contender of a row. Ours, the kernel and the plain formula must run; others may tell why they do not."""
    arrays = [jax.device_put(jnp.asarray(a, dtype if a.dtype.kind == "f" else a.dtype), device) for a in drawn]
    ready: dict[str, Contender] = {}
    temporaries: dict[str, int] = {}
    skipped: dict[str, str] = {}
    plain_need, ours = 0, None
    for name, build in contenders(row, arrays, device, compiles).items():
        try:
            contender = build()
            if contender.temporaries is not None:
                temporaries[name] = contender.temporaries
            if name == PLAIN:
                plain_need = contender.need or 0
            # PyTorch is taken to need what the plain formula does.
            require_memory(plain_need if contender.need is None else contender.need, device)
            out = contender.call()
            contender.wait(out)
            ours = (out[0], out[1][:1]) if name == OURS else ours
            if ours and name != KERNEL and not (off := distance(ours, out)) <= TOLERANCE[dtype]:
                # In half precision the formula as it stands may be at fault, in float32 this table is.
                error = AssertionError if dtype == "float32" else UnavailableError
                raise error(f"it computes something else: value or gradient off by {off:.1e}")
            del out
        except UnavailableError as reason:
            skipped[name] = str(reason)
        except Exception as error:
            if name in (OURS, KERNEL, PLAIN):
                raise
            skipped[name] = first_line(error)
        else:
            ready[name] = contender
    gradients = sum(arrays[position].nbytes for position in row.gradients)
    timings = interleave(ready, rounds, seconds, device.platform)
    inputs = sum(array.nbytes for array in arrays)
    return Result(row.name, size, dtype, inputs, arrays[0].nbytes, gradients, timings, temporaries, skipped)


def interleave(ready: dict[str, Contender], rounds: int, seconds: float, platform: str) -> dict[str, Timing]:
    """Medians of calls in turn, so that a drift of the machine hits all alike."""
    order, end = random.Random(0), time.perf_counter() + seconds
    once = {name: timed(contender, 1, platform) for name, contender in ready.items()}
    times: dict[str, list[float]] = {name: [] for name in ready}
    for done in range(rounds):
        if done >= FEWEST_ROUNDS and time.perf_counter() > end:
            break
        for name in order.sample(sorted(ready), len(ready)):
            # What the one before left in the caches, and its threads that still spin, shall not count.
            if once[name] < LONGEST:
                timed(ready[name], 1, platform)
            times[name].append(timed(ready[name], math.ceil(SHORTEST / once[name]), platform))
    quartiles = {name: np.quantile(taken, (0.25, 0.5, 0.75)).tolist() for name, taken in times.items()}
    return {name: Timing(median, low, high, len(times[name])) for name, (low, median, high) in quartiles.items()}


def timed(contender: Contender, repeats: int, platform: str) -> float:
    """Seconds a call."""
    start = time.perf_counter()
    for _ in range(repeats):
        out = contender.call()
        # A GPU works through a queue, as in training; on the CPU two calls at once would share the cores.
        if platform == "cpu":
            contender.wait(out)
    contender.wait(out)  # pyright: ignore[reportPossiblyUnboundVariable] at least one
    return (time.perf_counter() - start) / repeats


def eager_calls(rounds: int, platform: str) -> dict[str, Timing]:
    """`cross_entropy` on 8x10 logits, as it stands and jitted: the value, and value and gradient."""
    logits, labels = jnp.zeros((8, 10)), jnp.zeros(8, jnp.int32)
    value, gradient = jaxloss.cross_entropy, jax.value_and_grad(jaxloss.cross_entropy)
    calls = {"value": value, "gradient": gradient, "jitted value": jax.jit(value), "jitted gradient": jax.jit(gradient)}
    ready = {name: Contender(functools.partial(call, logits, labels)) for name, call in calls.items()}
    return interleave(ready, rounds, math.inf, platform)


def tracing(row: Row, size: Size) -> float:
    """Seconds that the loss adds to the tracing of a jitted function."""
    arrays = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in row.draw(size)]
    taken = []
    for _ in range(6):
        # A new function each time: JAX remembers what it has traced.
        step = jax.jit(lambda *arrays: row.ours(*arrays))
        start = time.perf_counter()
        step.trace(*arrays)
        taken.append(time.perf_counter() - start)
    # The first one also traces those functions of JAX that all others find.
    return float(np.median(taken[1:]))
