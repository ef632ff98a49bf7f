"""The fault lab's hardest fault at its full size: a run that is killed again and again is paid for once."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


def test_five_kills_of_all_workers_cost_at_most_what_was_in_flight_at_the_kills(tmp_path):
    command = [Path(sys.executable).parent / "vidbatch", "faultlab", "--only", "storm", "--rows", "2000", "--json"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    finding = orjson.loads(ended.stdout)
    assert ended.returncode == 0, finding["reasons"]
    assert finding["rows"] == 2000
    assert finding["lost"] == finding["duplicated"] == finding["wrong_row"] == 0
    assert 0 < finding["extra_posts"] <= finding["in_flight"]
