import subprocess
import sys

import pytest

from pipeline.edges.imports import UNUSED

KEEP_OUT = "from pipeline.edges.imports import keep_out_unused as k; k(); k();"
USES_ARROW = "import pyarrow; pyarrow.array([{'a': 1}]);"
LOADED = "import sys; print(*sorted({'numpy', 'pandas'} & set(sys.modules)))"


def said(code):
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stderr == ""
    return told.stdout.split()


@pytest.mark.parametrize(("before", "loaded"), [("", ["numpy", "pandas"]), (KEEP_OUT, [])])
def test_arrow_loads_numpy_and_pandas_unless_they_are_kept_out(before, loaded):
    assert said(before + USES_ARROW + LOADED) == loaded


def test_what_is_used_is_found_as_ever():
    subprocess.run([sys.executable, "-c", KEEP_OUT + "import pipeline.edges.annotations_file, json"], check=True)


def test_a_worker_loads_nothing_of_it():
    code = KEEP_OUT + "import os; os.environ['VIDBATCH_REDIS'] = 'redis://localhost';"
    code += "import workers.serving, sys; print(*sys.modules)"
    assert UNUSED.isdisjoint(said(code))
