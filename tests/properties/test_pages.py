"""Pages of the documentation whose code runs from top to bottom, each in a process of its own with eight devices."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["docs/on_a_mesh.md"])
def test_the_code_of_a_page_runs(page):
    text = (ROOT / page).read_text()
    # Each block stands where it stands in the page, so that an error names its line.
    lines = [""] * text.count("\n")
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        first = text.count("\n", 0, block.start(1))
        lines[first : first + block[1].count("\n")] = block[1].splitlines()
    assert any(lines)
    flags = "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=8"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-W", "error", "-"]
    result = subprocess.run(
        command, input="\n".join(lines), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
