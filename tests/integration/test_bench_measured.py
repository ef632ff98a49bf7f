"""The measurer of `make bench` on small trees of real processes."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from benchmarks.throughput.measured import reap_all_descendants
from benchmarks.throughput.reports import report_of

ROOT = Path(__file__).parent.parent.parent
BURN = "import time\nwhile time.process_time() < {cpu_s}: pass\n"
DAEMON = """
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", {burn!r}])
    os._exit(0)
os.wait()
"""
CHILD = "import signal, subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"


def start(report, program, *options):
    words = [sys.executable, "-m", "benchmarks.throughput.measured", "--report", str(report), *options, "--"]
    return subprocess.Popen([*words, sys.executable, "-c", program], cwd=ROOT)


def told(report):
    return report_of(orjson.loads(report.read_bytes()))


if sys.platform.startswith("linux"):

    def test_the_cpu_of_a_daemon_that_outlives_its_parents_is_counted(tmp_path):
        report = tmp_path / "report.json"
        assert start(report, DAEMON.format(burn=BURN.format(cpu_s=1.0))).wait(60) == 0
        found = told(report)
        assert (found.code, found.late, found.whole) == (0, False, True)
        assert 1.0 <= found.cpu_s < 3.0
        assert max(one.cpu_s for one in found.processes) > 0.5

    def test_the_command_s_exit_code_and_memory_are_told(tmp_path):
        report = tmp_path / "report.json"
        program = "import sys, threading; held = b'x' * (80 << 20); threading.Event().wait(0.6); sys.exit(3)"
        assert start(report, program).wait(60) == 0
        found = told(report)
        assert found.code == 3
        assert found.wall_s >= 0.6
        assert 80 <= found.peaks_mb["command"] < 200

    def test_what_does_not_end_in_time_is_ended_and_told_as_late(tmp_path):
        report = tmp_path / "report.json"
        assert start(report, CHILD + "signal.pause()", "--within", "1").wait(60) == 0
        assert told(report).late

    @pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
    def test_a_signal_ends_the_whole_tree(tmp_path, number):
        report, begun = tmp_path / "report.json", tmp_path / "begun"
        program = CHILD + f"open({str(begun)!r}, 'w').close(); signal.pause()"
        measurer = start(report, program)
        while not begun.exists() and measurer.poll() is None:
            threading.Event().wait(0.02)
        measurer.send_signal(number)
        assert measurer.wait(60) == 0
        assert told(report).code == -(signal.SIGKILL if number == signal.SIGUSR1 else signal.SIGTERM)

else:

    def test_elsewhere_the_measurer_says_that_it_needs_linux():
        with pytest.raises(OSError, match="needs Linux"):
            reap_all_descendants()
