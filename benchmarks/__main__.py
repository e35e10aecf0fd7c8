"""`python -m benchmarks`: measures every public loss against its peers; `--help` says what can be chosen."""

import argparse
import datetime
import os
import re
import shlex
import sys
from pathlib import Path

try:
    import jax
    from tqdm import tqdm

    from benchmarks import report
    from benchmarks.measure import Result, eager_calls, label, measure, tracing
    from benchmarks.rows import TABLE, Size
except ImportError as error:
    sys.exit(f"benchmarks: {error.name} cannot be imported; run pip install 'jaxloss[bench]'")

DTYPES = ("float32", "bfloat16")


def tiny(size: Size) -> Size:
    return tuple(max(4, length // 32) for length in size)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", metavar="PATTERN", help="a regular expression, searched for in the rows' names, `eager` and `tracing`"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few rounds: proves that everything runs")
    parser.add_argument("--scale", type=int, default=1, help="times as many examples, to outgrow a GPU's caches")
    parser.add_argument("--device", choices=("cpu", "gpu", "tpu"), help="where to run; by default where JAX would")
    parser.add_argument("--rounds", type=int, help="how often each call is measured (default 50, quick 3)")
    parser.add_argument(
        "--seconds", type=float, default=60, help="a row that takes longer gets fewer rounds (%(default)s)"
    )
    parser.add_argument("--output", type=Path, default=Path("results.json"), help="JSON (%(default)s)")
    parser.add_argument("--figure", type=Path, default=Path("benchmarks.png"), help="a picture (%(default)s)")
    parser.add_argument("--markdown", type=Path, help="the tables as Markdown")
    args = parser.parse_args()
    args.rounds = args.rounds or (3 if args.quick else 50)
    return args


def main() -> None:
    args = parse_arguments()
    # PyTorch must find memory on the GPU too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        device = jax.devices(args.device)[0]
    except RuntimeError as error:
        sys.exit(f"benchmarks: {error}")

    def chosen(name: str) -> bool:
        return not args.only or re.search(args.only, name) is not None

    jobs = [
        (row, tiny(size) if args.quick else (size[0] * args.scale, *size[1:]), dtype)
        for row in TABLE
        for size in row.benchmark.sizes[: 1 if args.quick else None]
        if chosen(label(row.name, size))
        for dtype in DTYPES
    ]
    if not jobs:
        sys.exit(f"benchmarks: no row matches {args.only}")

    run = {
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        **report.environment(device),
    }
    on_gpu = device.platform == "gpu"
    titles = report.header(on_gpu)
    print(run["device"], *(f"{name} {version}" for name, version in run["versions"].items()), sep=", ")
    print(report.text_line(titles, titles))

    results: list[Result] = []
    with jax.default_device(device), tqdm(jobs, file=sys.stderr, disable=None) as progress:
        for row, size, dtype in progress:
            progress.set_description(f"{label(row.name, size)} {dtype}")
            drawn = row.draw(size)
            compiles = not args.quick or not results
            result = measure(row, size, dtype, drawn, device, args.rounds, args.seconds, compiles)
            results.append(result)
            # Now already: the largest rows take long, and may be interrupted.
            report.write_json(args.output, run, results, report.bars(results, {}, {}))
            tqdm.write(report.text_line(report.cells(result, on_gpu), titles))
        eager, traced = {}, {}
        if chosen("eager"):
            eager = eager_calls(args.rounds, device.platform)
        if chosen("tracing"):
            traced = {row.name: tracing(row, tiny(row.benchmark.sizes[0])) for row in TABLE}

    found = report.bars(results, eager, traced)
    print("\nSkipped", *(report.skips(results) or ["nothing"]), sep="\n- ")
    print(f"\nBars{', at sizes too small to mean anything' if args.quick else ''}\n")
    print(report.text_table(report.bar_table(found)), report.NOISE, sep="\n\n")
    run["ms to trace"] = {name: 1e3 * seconds for name, seconds in traced.items()}
    report.write_json(args.output, run, results, found)
    report.draw_figure(args.figure, run, results)
    if args.markdown:
        report.write_markdown(args.markdown, run, results, found, on_gpu)


main()
