"""`python -m tests.catalogue` writes the README's table of losses; `--check` only says whether that is needed."""

import sys

from tests.catalogue import tables


def main() -> None:
    before, table, after = tables.written(tables.README.read_text())
    if "--check" in sys.argv[1:]:
        sys.exit("README.md: run python -m tests.catalogue" if table != tables.losses() else 0)
    tables.README.write_text(before + tables.losses() + after)


if __name__ == "__main__":
    main()
