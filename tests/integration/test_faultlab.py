"""The fault lab as a person types it: a fault of every family, with real workers, a real Redis and few rows."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import psutil
import pytest

from pipeline.faultlab.catalogue import chosen
from pipeline.faultlab.fault import Family

ONE_OF_EACH = ("stop-worker", "redis-restarted", "writer-killed-after-rename", "html-bodies", "clock-ahead")
ROWS = 200


@pytest.fixture
def faultlab(tmp_path):
    """Types the command in a folder of its own, so that whatever it leaves behind is seen."""

    def start(*words):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VIDBATCH_")}
        return subprocess.Popen(
            [Path(sys.executable).parent / "vidbatch", "faultlab", *words],
            env={**environment, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.mark.slow
@pytest.mark.parametrize("names", [("html-bodies",), ONE_OF_EACH])
def test_a_fault_of_a_family_costs_what_it_may_and_leaves_nothing_behind(faultlab, tmp_path, names):
    assert {fault.family for fault in chosen(ONE_OF_EACH)} == set(Family)
    words = [word for name in names for word in ("--only", name)]
    lab = faultlab("--rows", str(ROWS), "--jobs", "2", "--json", *words)
    out, err = lab.communicate(timeout=300)
    found = {finding["fault"]: finding for finding in map(orjson.loads, out.splitlines())}
    sys.stdout.write(out)
    assert lab.returncode == 0, out + err
    assert found.keys() == set(names)
    assert all(finding["passed"] and finding["rows"] == ROWS for finding in found.values())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.chaos)])
def test_an_interrupted_lab_ends_everything_that_it_started(faultlab, tmp_path, faults, how):
    lab = faultlab("--rows", str(ROWS), "--only", "stop-worker")
    faults.eventually(lambda: started_in(tmp_path), "processes with a state folder of this lab")
    lab.send_signal(how)
    out, err = lab.communicate(timeout=60)
    assert lab.returncode == 130, out + err
    assert started_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def started_in(folder):
    """Processes whose state folder is below this one."""
    found = []
    for process in psutil.process_iter():
        try:
            state = process.environ().get("VIDBATCH_STATE", "")
        except psutil.Error:
            continue
        if state.startswith(str(folder)) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def test_the_list_names_every_fault_and_starts_nothing(faultlab, tmp_path):
    out, err = faultlab("--list").communicate(timeout=60)
    assert err == ""
    assert [line.split()[1] for line in out.splitlines()] == [fault.name for fault in chosen([])]
    assert list(tmp_path.iterdir()) == []
