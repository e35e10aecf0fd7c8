"""The README's table of losses, as it follows from the records."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from tests.catalogue import TABLE
from tests.catalogue.record import Record

README = Path(__file__).parents[2] / "README.md"
HEAD = "| Task | Function | The model outputs | The target must be | PyTorch |\n| --- | --- | --- | --- | --- |\n"
# No losses, but what one of them takes and a sum of them, and so without a record.
LAST = (
    "| Language models, log-probabilities and entropies of tokens | `token_log_probs(temperature, with_entropy)` "
    "| logits | integer indices (...) | none |\n"
    "| Language models, the same without the logits' memory | `linear_token_log_probs(temperature, with_entropy)` "
    "| features, and the last layer's kernel | integer indices (...) | none |\n"
    "| Segmentation, the target of `boundary_loss` | `signed_distance(spacing)` | | booleans, a set | none |\n"
    "| Policies, advantages of groups | `group_advantages(baseline, scale)` | rewards | | none |\n"
    "| Self-supervised, the next centre of `dino_loss` | `dino_center(momentum)` "
    "| the teacher's logits (..., prototypes), and the centre | | none |\n"
    "| Several at once | `weighted_sum` | losses by name | weights by name | none |\n"
)


def losses() -> str:
    """A line for each run of records that differ in nothing but their function and its name elsewhere."""
    return HEAD + "".join(lines()) + LAST


def lines() -> Iterator[str]:
    for (task, outputs, target), run in itertools.groupby(
        TABLE, lambda record: (record.about.task, record.about.outputs, record.about.target)
    ):
        records = list(run)
        there = list(dict.fromkeys(map(in_pytorch, records)))
        cells = (task, ", ".join(map(function, records)), outputs, target, ", ".join(there))
        yield "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|\n"


def function(record: Record) -> str:
    about = record.about
    return f"`{record.name}{f'({about.shown})' if about.shown else ''}`" + (f" ({about.note})" if about.note else "")


def in_pytorch(record: Record) -> str:
    about = record.about
    there = about.torch or (about.torchvision and f"torchvision.ops.{about.torchvision}")
    return f"`{there}`" if there else "none"


def written(readme: str) -> tuple[str, str, str]:
    """What stands before the table, the table, and what comes after it."""
    begin = readme.index(HEAD.splitlines()[0])
    end = readme.index("\n\n", begin) + 1
    return readme[:begin], readme[begin:end], readme[end:]
