import subprocess
import sys

import pytest

USES_ARROW = "import pyarrow; pyarrow.array([{'a': 1}]); import sys; print('pandas' in sys.modules)"


@pytest.mark.parametrize(
    ("before", "loaded"),
    [("", "True"), ("from pipeline.edges.imports import keep_out_unused as k; k(); k();", "False")],
)
def test_arrow_loads_pandas_unless_it_is_kept_out(before, loaded):
    told = subprocess.run([sys.executable, "-c", before + USES_ARROW], capture_output=True, text=True, check=True)
    assert (told.stdout.strip(), told.stderr) == (loaded, "")


def test_what_is_used_is_found_as_ever():
    code = "from pipeline.edges.imports import keep_out_unused as k; k(); import pipeline.edges.annotations_file, json"
    subprocess.run([sys.executable, "-c", code], check=True)
