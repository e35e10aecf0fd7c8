import pytest
import torch  # pyright: ignore[reportMissingImports] an extra of its own

from tests.catalogue import TABLE

IN_TORCH = [record for record in TABLE if record.about.torch]


@pytest.mark.parametrize("record", IN_TORCH, ids=[record.name for record in IN_TORCH])
def test_the_module_that_a_record_names_exists(record):
    assert issubclass(getattr(torch.nn, record.about.torch), torch.nn.Module)
