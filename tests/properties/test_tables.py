"""Tables that follow from the records, and names that records say others have."""

import optax
import pytest

from tests.catalogue import TABLE, tables


def test_the_readmes_table_follows_from_the_records():
    _, table, _ = tables.written(tables.README.read_text())
    assert table == tables.losses(), "Run python -m tests.catalogue."


@pytest.mark.parametrize("record", TABLE, ids=[record.name for record in TABLE])
def test_names_elsewhere_exist(record):
    about = record.about
    if optax.__version__ != "0.2.5":  # the oldest, which lacks some
        assert not about.optax or hasattr(optax.losses, about.optax)
    assert not (about.torch and about.torchvision)
    assert about.torch or not (record.torch or record.from_torch or record.torch_target)


def test_a_loss_that_stands_for_others_stands_for_itself():
    """And is of their family, where it is asked what the suite leaves out for them."""
    named = {record.name: record for record in TABLE}
    for record in TABLE:
        if record.like:
            assert not named[record.like].like
            assert named[record.like].loss.__module__ == record.loss.__module__
