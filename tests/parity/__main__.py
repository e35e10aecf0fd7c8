"""A table of what PyTorch's samples show: `python -m tests.parity`, or with the names of functions and modules."""

import sys
import time

from tests.parity.compare import compare
from tests.parity.samples import NAMES

KINDS = ("passed", "refused", "different", "error refused")


def main() -> None:
    reasons, totals, start = {}, dict.fromkeys(KINDS, 0), time.perf_counter()
    print(f"{'':34}" + "".join(f"{kind:>15}" for kind in KINDS))
    for name in sys.argv[1:] or NAMES:
        begun = time.perf_counter()
        met = compare(name)
        counts = {kind: sum(number for (each, _), number in met.items() if each == kind) for kind in KINDS}
        totals = {kind: totals[kind] + counts[kind] for kind in KINDS}
        print(f"{name:34}" + "".join(f"{counts[kind]:15}" for kind in KINDS), end="")
        print(f"{time.perf_counter() - begun:8.1f} s", flush=True)
        for (kind, reason), number in met.items():
            if reason:
                reasons.setdefault((kind, reason), []).append(f"{name} {number}")
    print(f"{'in all':34}" + "".join(f"{totals[kind]:15}" for kind in KINDS))
    for (kind, reason), where in reasons.items():
        print(f"{kind}: {reason} ({', '.join(where)})")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
