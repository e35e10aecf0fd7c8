"""The last layer of language models, at the sizes for which others publish their memory, as XLA counts it.

`python -m benchmarks.heads` times it where it runs, at a size that a CPU computes in a second.

What is published was measured on a card; what stands beside it is counted for one that was not there. Two libraries,
two ways to say how much: with the gradients, or with all arrays. Each is counted here in both ways.
"""

import functools
import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import jaxloss
from benchmarks import compiled
from benchmarks.measure import PLAIN, TOKAMAX

MEBIBYTE = 2**20
# Tokens, features, classes: of Gemma 2 (2B), which CCE takes, and of Llama 3 (8B), which Liger takes.
SIZES = {"Gemma 2": (8192, 2304, 256000), "Llama 3": (8192, 4096, 128256)}
TIMED = (2048, 512, 32768)
WITH_GRADIENTS, WITH_ALL = "gradients", "all arrays"


@dataclass(frozen=True)
class Published:
    """Value and gradient in bfloat16, in MiB."""

    model: str
    source: str
    card: str
    includes: str
    mebibytes: Mapping[str, float]


PUBLISHED = (
    Published(
        "Gemma 2",
        "[CCE](https://github.com/apple/ml-cross-entropy)",
        "A100",
        WITH_GRADIENTS,
        {"CCE": 1164, "torch.compile": 16000.1, "PyTorch": 28000},
    ),
    Published(
        "Llama 3",
        "[Liger](https://github.com/linkedin/Liger-Kernel/tree/61594612/benchmark/fused_linear_cross_entropy_memory)",
        "A100",
        WITH_ALL,
        {"Liger": 4360.2, "PyTorch": 9055.7},
    ),
    Published(
        "Llama 3",
        "[Liger](https://github.com/linkedin/Liger-Kernel/tree/61594612/benchmark/fused_linear_cross_entropy_memory)",
        "H100",
        WITH_ALL,
        {"Liger": 4408.0, "PyTorch": 9103.5},
    ),
)


@dataclass(frozen=True)
class Head:
    """One way to compute value and gradient of one layer, on one platform."""

    name: str
    model: str
    dtype: str
    platform: str
    # Bytes, besides those of arguments and results; of results; of all.
    temporaries: int
    results: int
    arguments: int

    def mebibytes(self, includes: str | None = None) -> float:
        more = {None: 0, WITH_GRADIENTS: self.results, WITH_ALL: self.results + self.arguments}[includes]
        return (self.temporaries + more) / MEBIBYTE


def plain(features: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    log_probs = jax.nn.log_softmax((features @ kernel).astype(jnp.float32))
    return -jnp.take_along_axis(log_probs, labels[:, None], -1).mean()


def by_log_probs(features: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    return -jaxloss.linear_token_log_probs(features, kernel, labels).mean()


def by_tokamax(tokamax: Any, features: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    return tokamax.linear_softmax_cross_entropy_loss(
        features, labels, kernel, reduction="mean", implementation="chunked_xla"
    )


def contenders() -> dict[str, Callable[..., Any]]:
    found = {
        "linear_cross_entropy": jaxloss.linear_cross_entropy,
        "linear_token_log_probs": by_log_probs,
        PLAIN: plain,
    }
    if importlib.util.find_spec("tokamax"):
        found[TOKAMAX] = functools.partial(by_tokamax, importlib.import_module("tokamax"))
    return found


def measure(name: str, model: str, dtype: str, platform: str, device: Any) -> Head | None:
    """None where the device is too small for it."""
    tokens, features, classes = SIZES[model]
    arrays = [
        jax.ShapeDtypeStruct((tokens, features), dtype),
        jax.ShapeDtypeStruct((features, classes), dtype),
        jax.ShapeDtypeStruct((tokens,), jnp.int32),
    ]
    step = jax.value_and_grad(contenders()[name], (0, 1))
    try:
        memory = compiled.compile_for(device, step, arrays).memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
    sizes = memory.temp_size_in_bytes, memory.output_size_in_bytes, memory.argument_size_in_bytes
    return Head(name, model, dtype, platform, *sizes)


def measure_all(devices: Mapping[str, Any], dtypes: Sequence[str]) -> Iterator[Head]:
    for model in SIZES:
        for dtype in dtypes:
            for platform, device in devices.items():
                for name in contenders():
                    found = measure(name, model, dtype, platform, device)
                    if found:
                        yield found


# What is written


def read(stored: Sequence[Mapping[str, Any]]) -> list[Head]:
    return [Head(**each) for each in stored]


def names_in(heads: Sequence[Head]) -> list[str]:
    order = ["linear_cross_entropy", "linear_token_log_probs", PLAIN, TOKAMAX]
    return sorted({each.name for each in heads}, key=order.index)


def lines(heads: Sequence[Head]) -> Iterator[tuple[str, ...]]:
    names = names_in(heads)
    yield "Tokens, features, classes", "Dtype", "Platform", *(f"`{name}`" for name in names)
    for model, size in SIZES.items():
        for dtype, platform in dict.fromkeys((each.dtype, each.platform) for each in heads):
            where = model, dtype, platform
            found = {each.name: each for each in heads if (each.model, each.dtype, each.platform) == where}
            cells = (f"{found[name].mebibytes():,.0f}" if name in found else "does not fit" for name in names)
            yield f"{model}: {'x'.join(map(str, size))}", dtype, platform, *cells


def beside_published(heads: Sequence[Head]) -> Iterator[tuple[str, ...]]:
    """In bfloat16, what is counted for an H100 in the way of those who published."""
    names = names_in(heads)
    yield "Tokens, features, classes", "MiB of", "Published, on a card", *(f"`{name}`, counted" for name in names)
    for each in PUBLISHED:
        published = ", ".join(f"{name} {mebibytes:,.0f}" for name, mebibytes in each.mebibytes.items())
        found = {
            head.name: head.mebibytes(each.includes)
            for head in heads
            if (head.model, head.dtype, head.platform) == (each.model, "bfloat16", "gpu")
        }
        yield (
            f"{each.model}: {'x'.join(map(str, SIZES[each.model]))}",
            f"temporaries and {each.includes}",
            f"{each.source}, {each.card}: {published}",
            *(f"{found[name]:,.0f}" for name in names),
        )


def table(rows: Iterator[tuple[str, ...]]) -> str:
    head, *rest = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rest))


def markdown(heads: Sequence[Head]) -> str:
    return (
        "## The last layer of language models\n\n"
        "Value and gradient of features and kernel, without a bias: MiB held besides arguments and results.\n\n"
        f"{table(lines(heads))}\n\n"
        "Beside what others have published in bfloat16. Theirs was measured on the card that is named, and includes "
        "the gradients (CCE), or all arrays (Liger); ours is counted for an H100, and includes the same.\n\n"
        f"{table(beside_published(heads))}\n"
    )


# By time


def drawn(dtype: str) -> list[jax.Array]:
    tokens, features, classes = TIMED
    keys = jax.random.split(jax.random.key(0), 3)
    return [
        jax.random.normal(keys[0], (tokens, features), dtype),
        jax.random.normal(keys[1], (features, classes), dtype) / features**0.5,
        jax.random.randint(keys[2], (tokens,), 0, classes),
    ]


def timed(dtype: str, rounds: int = 15) -> dict[str, tuple[float, int]]:
    """Seconds of value and gradients, the median of rounds in which all take turns, and bytes of temporaries."""
    arrays = drawn(dtype)
    steps = {
        name: jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*arrays).compile() for name, loss in contenders().items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):  # The first warms up.
        for name, step in steps.items():
            begun = time.perf_counter()
            jax.block_until_ready(step(*arrays))
            seconds[name].append(time.perf_counter() - begun)
    memory = {name: step.memory_analysis() for name, step in steps.items()}
    return {
        name: (statistics.median(seconds[name][1:]), each.temp_size_in_bytes) for name, each in memory.items() if each
    }


def main() -> None:
    for dtype in ("float32", "bfloat16"):
        found = timed(dtype)
        for name, (seconds, held) in found.items():
            ratio = seconds / found[PLAIN][0]
            print(f"{dtype:8}  {name:24}{1e3 * seconds:8.0f} ms{ratio:7.2f} of {PLAIN}{held / MEBIBYTE:8.0f} MiB held")


if __name__ == "__main__":
    main()
