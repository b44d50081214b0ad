import gc
import os
import subprocess
import sys

import pytest

from spark3r_stream.engine.steady import keep_freed_memory, long_lived_objects

FAULTS = """
import resource, sys
import numpy as np
from spark3r_stream.engine.steady import keep_freed_memory
assert len(sys.argv) < 2 or keep_freed_memory()
def use():
    big = [np.ones(3 << 20, np.uint8) for _ in range(8)]
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_used_again_instead_of_cleared_anew() -> None:
    if not keep_freed_memory():
        pytest.skip("not glibc")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, *args], env=plain, capture_output=True, text=True, check=True
            ).stdout
        )
        for args in ([], ["kept"])
    ]
    assert faults[1] < faults[0] / 10


def test_old_objects_are_left_alone_and_given_back() -> None:
    before = gc.get_freeze_count()
    with long_lived_objects():
        assert gc.get_freeze_count() > before + 1000
    assert gc.get_freeze_count() <= before
