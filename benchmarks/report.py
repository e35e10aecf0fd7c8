"""Table, JSON, Markdown, figure, and the bars that the results are held to."""

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.measure import COMPILED, EAGER, KERNEL, OPTAX, OURS, PEERS, PLAIN, TOKAMAX, Device, Result, Timing
from benchmarks.rows import TABLE

# How many times the kernel that only reads and writes, of the losses whose record says so.
KERNELS = {row.name: row.benchmark.kernels for row in TABLE if row.benchmark.kernels}
# What the linear head may hold of the plain version's temporaries, by its number of classes.
HEADS = {32_768: 0.10, 131_072: 0.02}
NOISE = (
    "Faster by more than the noise: the medians differ by more than half the distance of our quartiles and half that "
    "of the peer's together."
)


@dataclass(frozen=True)
class Bar:
    """What was asked for, where, what was measured and what it may be at most."""

    what: str
    where: str
    measured: float
    limit: float

    @property
    def met(self) -> bool:
        return self.measured <= self.limit


def bars(results: Sequence[Result], eager: Mapping[str, Timing], traced: Mapping[str, float]) -> list[Bar]:
    found = [bar for result in results for bar in bars_of(result)]
    if eager:
        found += [
            Bar("eager / jitted call, cross_entropy 8x10", what, eager[what].median / eager[f"jitted {what}"].median, 3)
            for what in ("value", "gradient")
        ]
    if traced:
        slowest = max(traced, key=lambda name: traced[name])
        found.append(Bar("ms to trace a loss, the slowest", slowest, 1e3 * traced[slowest], 5))
    return sorted(found, key=lambda bar: bar.what)


def bars_of(result: Result) -> list[Bar]:
    """Those that apply, of what ran."""
    where, found = f"{result.name} {result.dtype}", []

    def against(what: str, names: Sequence[str], limit: float | None) -> None:
        """Our time over that of the best of these; without a limit, up to the noise."""
        best = result.best(*names)
        if best and OURS in result.timings:
            ours, theirs = result.timings[OURS], best[1]
            noise = 1 + (ours.noise + theirs.noise) / theirs.median
            found.append(Bar(what, f"{where} ({best[0]})", ours.median / theirs.median, limit or noise))

    def holds(what: str, most: float | None, limit: float) -> None:
        """Our temporaries over this many bytes."""
        if most and OURS in result.temporaries:
            found.append(Bar(what, where, result.temporaries[OURS] / most, limit))

    if result.loss in KERNELS:
        against("time / kernel", (KERNEL,), KERNELS[result.loss])
    if result.loss == "cross_entropy":
        against("time / best of optax and torch.compile", (OPTAX, COMPILED), None)
        holds("temporaries / logits: none of their size", result.pred, 0.9)
    if result.loss == "linear_cross_entropy":
        # Both of these store the logits.
        plain = min(result.temporaries.get(name, math.inf) for name in (PLAIN, OPTAX))
        against("time / plain version", (PLAIN, OPTAX), 1.0)
        if result.size[-1] in HEADS:
            holds("temporaries / plain version's", plain, HEADS[result.size[-1]])
    if result.loss == "ctc_loss":
        against("time / best of optax and torch", (OPTAX, EAGER, COMPILED), 0.6)
        holds("temporaries / optax's", result.temporaries.get(OPTAX), 1.0)
    against("no peer faster: time / best peer", PEERS, None)
    return found


# Tables are lists of rows of cells; the first is the header.


def number(value: float | None, unit: float = 1.0) -> str:
    return "-" if value is None else f"{value / unit:.3g}" if value < 999 * unit else f"{value / unit:.0f}"


def columns(on_gpu: bool) -> dict[str, Callable[[Result], str]]:
    def milliseconds(name: str) -> Callable[[Result], str]:
        return lambda result: number(result.timings[name].median if name in result.timings else None, 1e-3)

    def megabytes(name: str) -> Callable[[Result], str]:
        return lambda result: number(result.temporaries.get(name), 1e6)

    def bandwidth(name: str) -> Callable[[Result], str]:
        def moved(result: Result) -> float | None:
            timing = result.timings.get(name)
            return (result.inputs + result.gradients) / timing.median if timing else None

        return lambda result: number(moved(result), 1e9)

    def best_peer(result: Result) -> str:
        best = result.best()
        return number(result.ratio(best[1] if best else None))

    return {
        "loss": lambda result: result.name,
        "dtype": lambda result: result.dtype,
        **{f"{name} ms": milliseconds(name) for name in (OURS, *PEERS, KERNEL)},
        "/ best peer": best_peer,
        "/ kernel": lambda result: number(result.ratio(result.timings.get(KERNEL))),
        **{f"{name} MB": megabytes(name) for name in (OURS, PLAIN, OPTAX, TOKAMAX)},
        **({"GB/s": bandwidth(OURS), "kernel GB/s": bandwidth(KERNEL)} if on_gpu else {}),
    }


def header(on_gpu: bool) -> list[str]:
    return list(columns(on_gpu))


def cells(result: Result, on_gpu: bool) -> list[str]:
    return [cell(result) for cell in columns(on_gpu).values()]


def text_line(row: Sequence[str], titles: Sequence[str]) -> str:
    """As wide as the titles, so that a line can be printed before the next is known."""
    widths = [50 if title == "loss" else max(len(title), 8) for title in titles]
    return "  ".join(
        cell.ljust(width) if title in ("loss", "dtype") else cell.rjust(width)
        for cell, width, title in zip(row, widths, titles, strict=True)
    )


def bar_table(found: Sequence[Bar]) -> list[list[str]]:
    """Most rows have no faster peer: these are counted, and those that have one listed."""
    against_peers = [bar for bar in found if bar.what.startswith("no peer")]
    listed = [bar for bar in found if bar not in against_peers or not bar.met]
    met = sum(bar.met for bar in against_peers)
    return [
        ["bar", "where", "measured", "at most", ""],
        *([bar.what, bar.where, f"{bar.measured:.3g}", f"{bar.limit:.3g}", verdict(bar.met)] for bar in listed),
        ["no peer faster", f"{met} of {len(against_peers)} rows", "", "", verdict(met == len(against_peers))],
    ]


def verdict(met: bool) -> str:
    return "met" if met else "NOT MET"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def skips(results: Sequence[Result]) -> list[str]:
    """Each reason once, with where it holds."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for name, reason in result.skipped.items():
            reasons.setdefault((name, reason), []).append(f"{result.name} {result.dtype}")
    return [
        f"{name}: {reason} ({places[0]}{f' and {len(places) - 1} more' if places[1:] else ''})"
        for (name, reason), places in reasons.items()
    ]


def environment(device: Device) -> dict[str, Any]:
    packages = ("jaxloss", "jax", "jaxlib", "optax", "torch", "tokamax")
    versions: dict[str, str] = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    accelerator = "" if device.platform == "cpu" else f"{device.device_kind}, host "
    return {"device": accelerator + processor(), "versions": versions}


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"


def write_json(path: Path, run: Mapping[str, Any], results: Sequence[Result], found: Sequence[Bar]) -> None:
    rows = [{"name": result.name, **asdict(result)} for result in results]
    path.write_text(json.dumps({**run, "rows": rows, "bars": [{**asdict(b), "met": b.met} for b in found]}, indent=1))


def write_markdown(
    path: Path, run: Mapping[str, Any], results: Sequence[Result], found: Sequence[Bar], on_gpu: bool
) -> None:
    def table(rows: Sequence[Sequence[str]]) -> list[str]:
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return [lines[0], "|" + " --- |" * len(rows[0]), *lines[1:], ""]

    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    lines = [
        "# Results",
        "",
        f"`{run['command']}`, {run['date']}. {run['device']}. {versions}.",
        "What each column means: [README.md](README.md).",
        "",
        "## Rows",
        "",
        *table([header(on_gpu), *(cells(result, on_gpu) for result in results)]),
        *(f"- skipped: {line}" for line in skips(results)),
        "",
        "## Bars",
        "",
        *table(bar_table(found)),
        NOISE,
    ]
    path.write_text("\n".join(lines).replace("\n\n\n", "\n\n") + "\n")


def draw_figure(path: Path, run: Mapping[str, Any], results: Sequence[Result]) -> None:
    """The time of the best peer over ours: a bar a row for float32, a dot for bfloat16."""
    speedups: dict[str, dict[str, tuple[float, str]]] = {}
    for result in results:
        best = result.best()
        if best and (ratio := result.ratio(best[1])):
            speedups.setdefault(result.name, {})[result.dtype] = 1 / ratio, best[0]
    names = sorted(speedups, key=lambda name: next(iter(speedups[name].values())))
    figure = Figure(figsize=(9, 1.5 + 0.22 * len(names)), layout="constrained")
    axes = figure.subplots()
    for y, name in enumerate(names):
        for dtype, (speedup, _) in speedups[name].items():
            if dtype == "float32":
                axes.barh(y, speedup - 1, left=1, color="#4878a8" if speedup >= 1 else "#c66a4a", height=0.7)
            else:
                axes.plot(speedup, y, "o", color="#222222", markersize=3.5, zorder=3)
        speedup, peer = next(iter(speedups[name].values()))
        end = max(1.0, *(speedup for speedup, _ in speedups[name].values()))
        text = f"{speedup:.2g}x  {peer}"
        axes.annotate(text, (end, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=7)
    axes.plot([], [], "o", color="#222222", markersize=3.5, label="bfloat16")
    axes.set_xscale("log", subs=[2, 5])
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks(lambda x, _: f"{x:g}x")
    axes.margins(x=0.15, y=0.01)
    axes.axvline(1, color="#222222", linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("value and gradient: time of the fastest peer / time of jaxloss")
    axes.set_title(run["device"], fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=150)
