"""`python -m benchmarks.accelerators`: bytes and memory of every loss on a TPU and a GPU, as the compiler counts them.

No device is needed, and no time is measured: XLA compiles value and gradient for machines that are not there, and
counts. The counts are exact, and the same wherever they are made.
"""

import argparse
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# The CPU only: the machines asked for are not there.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

try:
    import jax
    import jax.numpy as jnp
    from tqdm import tqdm

    from benchmarks import compiled
    from benchmarks import heads as of_heads
    from benchmarks import mesh as on_mesh
    from benchmarks.compiled import Count
    from benchmarks.measure import OPTAX, OURS, PLAIN, TOKAMAX
    from benchmarks.rows import TABLE, Row, Size
except ImportError as missing:
    sys.exit(f"benchmarks: {missing.name} cannot be imported; run pip install 'jaxloss[bench,accelerators]'")

RESULTS = Path(__file__).with_name("accelerators.json")
DTYPES = ("float32", "bfloat16")
# A TPU v5e has 128 MB on its chip, an H100 50: what is smaller than this may never touch main memory a second time.
OUTGROWS = 2**28
# How far above the best peer a loss may be: bytes, relatively; temporaries, in bytes, relatively, and as a part of the
# floor: a GPU's reductions of long rows hold partial results.
BYTES, TEMPORARIES, SHARE, OF_FLOOR = 1.02, 1e6, 1.1, 0.01


@dataclass(frozen=True)
class Result:
    """One loss on one platform in one dtype."""

    loss: str
    size: Size
    dtype: str
    platform: str
    # Bytes of a program that reads every array once and writes every gradient once.
    floor: int
    counts: dict[str, Count]

    @property
    def name(self) -> str:
        return f"{self.loss} {'x'.join(map(str, self.size))} {self.dtype} {self.platform}"

    @property
    def ours(self) -> Count:
        return self.counts[OURS]

    @property
    def peers(self) -> dict[str, Count]:
        return {name: count for name, count in self.counts.items() if name != OURS}

    def least(self, quantity: str) -> float:
        """Of the best peer, which may be another one for each quantity."""
        return min((getattr(count, quantity) for count in self.peers.values()), default=math.inf)

    def behind(self) -> list[str]:
        """In what a peer is cheaper."""
        found = []
        if self.ours.accessed > BYTES * self.least("accessed"):
            found.append(f"bytes {self.ours.accessed / self.least('accessed'):.2f} of a peer's")
        if self.ours.temporaries > max(TEMPORARIES + SHARE * self.least("temporaries"), OF_FLOOR * self.floor):
            found.append(f"holds {self.ours.temporaries / 1e6:.0f} MB, a peer {self.least('temporaries') / 1e6:.0f}")
        return found


def size_of(row: Row, dtype: str) -> Size:
    """One that outgrows what a chip holds: the record's, or its last with as many examples as that takes."""
    if row.benchmark.large:
        return row.benchmark.large
    size = row.benchmark.sizes[-1]
    while _bytes(shapes(row, size, dtype)[0]) < OUTGROWS:
        size = (2 * size[0], *size[1:])
    return size


def shapes(row: Row, size: Size, dtype: str) -> list[jax.ShapeDtypeStruct]:
    """The arrays of a size too large to be drawn: those of a small one, whose lengths tell which is which."""
    small = (11, 13, 17, 19)[: len(size)]
    lengths = dict(zip(small, size, strict=True))
    return [
        jax.ShapeDtypeStruct(
            [lengths.get(length, length) for length in array.shape], dtype if array.dtype.kind == "f" else array.dtype
        )
        for array in row.draw(small)
    ]


def _bytes(array: jax.ShapeDtypeStruct) -> int:
    return math.prod(array.shape) * array.dtype.itemsize


def contenders(row: Row) -> dict[str, Callable[..., Any]]:
    """Ours, and the peers in JAX that are installed."""
    found = {OURS: row.ours, PLAIN: functools.partial(row.benchmark.plain, jnp)}
    for name, module, peer in (
        (OPTAX, "optax.losses", row.benchmark.optax),
        (TOKAMAX, "tokamax", row.benchmark.tokamax),
    ):
        if peer and importlib.util.find_spec(module.partition(".")[0]):
            found[name] = functools.partial(peer, importlib.import_module(module))
    return found


def measure(row: Row, dtype: str, platform: str, device: Any, stored: Mapping[str, Result]) -> Result:
    """Every contender of a row, compiled and counted; but peers whose counts are stored."""
    size = size_of(row, dtype)
    arrays = shapes(row, size, dtype)
    floor = sum(map(_bytes, arrays)) + sum(_bytes(arrays[position]) for position in row.gradients)
    result = Result(row.name, size, dtype, platform, floor, {})
    for name, function in contenders(row).items():
        known = stored.get(result.name)
        if name != OURS and known and name in known.counts:
            result.counts[name] = known.counts[name]
        else:
            gradients = jax.value_and_grad(function, row.gradients)
            try:
                result.counts[name] = compiled.count(compiled.compile_for(device, gradients, arrays))
            except jax.errors.JaxRuntimeError as error:
                # A peer that does not fit the machine is no peer there.
                if name == OURS or "RESOURCE_EXHAUSTED" not in str(error):
                    raise
    return result


# What is written


def lines(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    """A table: bytes by the floor and by the best peer's, temporaries, ours and the best peer's."""
    yield "Loss", "Size", "Dtype", "Platform", "Bytes / floor", "Best peer / floor", "Ratio", "MB held", "Peer's MB"
    for each in results:
        yield (
            f"`{each.loss}`",
            "x".join(map(str, each.size)),
            each.dtype,
            each.platform,
            f"{each.ours.accessed / each.floor:.2f}",
            f"{each.least('accessed') / each.floor:.2f}",
            f"{each.ours.accessed / each.least('accessed'):.2f}",
            f"{each.ours.temporaries / 1e6:.1f}",
            f"{each.least('temporaries') / 1e6:.1f}",
        )


def markdown(results: Sequence[Result], run: dict[str, Any]) -> str:
    head, *rows = lines(results)
    table = "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
    late = [f"- {each.name}: {', '.join(each.behind())}" for each in results if each.behind()]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return (
        "# What the compiler counts for a TPU v5e and an H100\n\n"
        f"`{run['command']}`: {versions}.\n\n"
        "Value and gradient, compiled by XLA for machines that were not there. This is the compiler's count of bytes "
        "and of memory, no time. The floor reads every array once and writes every gradient once. Without a loop the "
        "bytes are XLA's own count; with one, they are read from the compiled text, times the trips of the loop.\n\n"
        f"Above a peer:\n\n{chr(10).join(late) or 'none.'}\n\n{table}\n"
        + (f"\n{of_heads.markdown(of_heads.read(run['heads']))}" if run.get("heads") else "")
    )


def draw_figure(path: Path, results: Sequence[Result]) -> None:
    """A point a loss: its bytes by the best peer's."""
    import matplotlib.pyplot as plt  # The tests do without it.

    names = list(dict.fromkeys(each.loss for each in results))
    figure, axes = plt.subplots(figsize=(8, 0.24 * len(names) + 1.5), layout="constrained")
    axes.axvline(1.0, color="0.6", linewidth=1)
    styles = {"float32": "o", "bfloat16": "s"}
    colours = {"tpu": "C0", "gpu": "C2"}
    for platform, title, shift in (("tpu", "TPU v5e", -0.15), ("gpu", "H100", 0.15)):
        for dtype, marker in styles.items():
            chosen = [each for each in results if (each.platform, each.dtype) == (platform, dtype) and each.peers]
            axes.plot(
                [each.ours.accessed / each.least("accessed") for each in chosen],
                [names.index(each.loss) + shift for each in chosen],
                marker,
                color=colours[platform],
                markerfacecolor=colours[platform] if dtype == "float32" else "none",
                label=f"{title}, {dtype}",
            )
    axes.set_xscale("log")
    ticks = (0.1, 0.2, 0.5, 1, 2, 4)
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.9")
    axes.set_xlabel(
        "bytes accessed, jaxloss by its best peer in JAX (left of 1 is fewer):\nthe compiler's count, no time"
    )
    axes.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=150)


def read(path: Path = RESULTS) -> dict[str, Result]:
    """Results by their names."""
    found = {}
    for each in json.loads(path.read_text())["results"]:
        counts = {name: Count(**count) for name, count in each.pop("counts").items()}
        result = Result(**(each | {"size": tuple(each["size"])}), counts=counts)
        found[result.name] = result
    return found


def beside(results: Sequence[Result], kept: Iterable[Result]) -> list[Result]:
    """In the order of the table, those of losses that were measured again and those of the others."""
    order, again = [row.name for row in TABLE], {result.loss for result in results}
    every = [*results, *(result for result in kept if result.loss in order and result.loss not in again)]
    return sorted(every, key=lambda result: order.index(result.loss))


def versions() -> dict[str, str]:
    """Of what compiles, and of the peers that are installed."""
    names = ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin", "nvidia-cuda-nvcc-cu12", "optax", "tokamax")
    installed = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return {name: installed[name] for name in names if name in installed}


def stored_versions(path: Path = RESULTS) -> dict[str, str]:
    return json.loads(path.read_text())["versions"]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerators", description=__doc__)
    parser.add_argument("--only", metavar="PATTERN", help="a regular expression, searched for in the losses' names")
    parser.add_argument("--platform", choices=compiled.PLATFORMS, help="one of the two")
    parser.add_argument(
        "--mesh", action="store_true", help="losses over sharded classes on 16 TPUs instead, and the large head"
    )
    parser.add_argument(
        "--heads", action="store_true", help="also the last layer of language models, at the sizes that others publish"
    )
    parser.add_argument("--topology", default=compiled.V5E, help="which TPU (%(default)s), as v6e:2x2")
    parser.add_argument(
        "--target", type=Path, default=compiled.H100, help="a GpuTargetConfigProto of which GPU, as text"
    )
    parser.add_argument("--output", type=Path, default=Path("accelerators.json"), help="JSON (%(default)s)")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep what the JSON holds of other losses, if it is of the same versions",
    )
    parser.add_argument("--markdown", type=Path, help="the table as Markdown")
    parser.add_argument("--figure", type=Path, help="a picture")
    return parser.parse_args()


def print_mesh(args: argparse.Namespace) -> None:
    """What each device of a mesh holds and sends."""
    results = []
    for result in on_mesh.measure_all(compiled.devices("tpu", on_mesh.TOPOLOGY), DTYPES):
        results.append(result)
        *_, line = on_mesh.lines(results[-1:])
        print("  ".join(cell.strip("`").ljust(20 if place < 2 else 10) for place, cell in enumerate(line)), flush=True)
    if args.markdown:
        command = shlex.join(["python", "-m", "benchmarks.accelerators", *sys.argv[1:]])
        of = ", ".join(f"{name} {version}" for name, version in versions().items() if name in ("jax", "libtpu"))
        args.markdown.write_text(on_mesh.markdown(results, command, of))


def main() -> None:
    args = parse_arguments()
    if args.mesh:
        print_mesh(args)
        return
    platforms = [args.platform] if args.platform else compiled.PLATFORMS
    try:
        there = {name: compiled.devices(name, args.topology, args.target)[0] for name in platforms}
    except compiled.MissingCompilerError as error:
        sys.exit(f"benchmarks: {error}")
    rows = [row for row in TABLE if not args.only or re.search(args.only, row.name)]
    jobs = [(row, dtype, platform) for row in rows for dtype in DTYPES for platform in platforms]
    results = []
    with tqdm(jobs, file=sys.stderr, disable=None) as progress:
        for row, dtype, platform in progress:
            progress.set_description(f"{row.name} {dtype} {platform}")
            results.append(measure(row, dtype, platform, there[platform], {}))
            *_, line = lines(results[-1:])
            tqdm.write("  ".join(cell.strip("`").ljust(22 if place < 2 else 10) for place, cell in enumerate(line)))
    run: dict[str, Any] = {}
    known = stored_versions(args.output) if args.keep else {}
    if args.keep:
        if any(known.get(name) != version for name, version in versions().items()):
            sys.exit(f"benchmarks: {args.output} is of {known}, these are {versions()}")
        results = beside(results, read(args.output).values())
        run = {name: each for name, each in json.loads(args.output.read_text()).items() if name != "results"}
    run.setdefault("command", shlex.join(["python", "-m", "benchmarks.accelerators", *sys.argv[1:]]))
    run["versions"] = known | versions()
    if args.heads:
        run["heads"] = [asdict(each) for each in of_heads.measure_all(there, DTYPES)]
    args.output.write_text(json.dumps(run | {"results": [asdict(each) for each in results]}, indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(markdown(results, run))
    if args.figure:
        draw_figure(args.figure, results)
    late = [f"{each.name}: {', '.join(each.behind())}" for each in results if each.behind()]
    print("\nAbove a peer:", *(late or ["none"]), sep="\n- ")


if __name__ == "__main__":
    main()
