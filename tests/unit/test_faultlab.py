"""The lab's own parts: what it asks, what it lists, what the saboteur obeys, and how a finding is told."""

import errno
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from pipeline.cli.faultlab_command import HEADINGS, WIDTHS, finding_line
from pipeline.core.errors import SettingsError
from pipeline.faultlab import sabotage
from pipeline.faultlab.catalogue import FAULTS, chosen
from pipeline.faultlab.fault import Family
from pipeline.faultlab.processes import of_stage
from pipeline.faultlab.question import Question
from pipeline.faultlab.verdict import Finding
from pipeline.simulator.digest import digest


def test_the_lab_computes_an_answers_digest_as_the_simulator_does():
    question = Question(3)
    _, url, prompt = question.cells(2)
    assert question.digest(2) == digest([url.encode()], prompt)


def test_every_row_of_the_question_can_be_told_apart():
    question = Question(50)
    assert len(question.by_prompt()) == 50
    assert len({question.digest(index) for index in range(50)}) == 50


def test_the_manifest_has_a_line_for_every_row(tmp_path):
    Question(3).write(tmp_path / "videos.csv")
    assert (tmp_path / "videos.csv").read_text().splitlines() == [
        "id,video_url,prompt",
        "v0,https://videos.example/0.mp4,Describe clip 0.",
        "v1,https://videos.example/1.mp4,Describe clip 1.",
        "v2,https://videos.example/2.mp4,Describe clip 2.",
    ]


def test_every_fault_has_a_name_of_its_own_in_kebab_case_and_a_meaning():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    assert all(fault.meaning and not fault.meaning.endswith(".") for fault in FAULTS)
    assert max(map(len, names)) <= WIDTHS[0]


def test_every_family_is_broken_in_some_way():
    assert {fault.family for fault in FAULTS} == set(Family)


def test_faults_are_chosen_by_name_or_family_in_the_catalogues_order():
    assert chosen([]) == list(FAULTS)
    picked = [fault.name for fault in chosen(["time", "kill-child"])]
    assert picked == ["kill-child", "clock-ahead", "clock-behind"]


def test_a_fault_that_nobody_knows_is_refused():
    with pytest.raises(SettingsError, match="no fault 'earthquake'"):
        chosen(["kill-child", "earthquake"])


def test_a_finding_is_told_in_one_line_under_its_headings():
    line = finding_line(Finding("kill-child", 2000, extra_posts=3, allowed=160, in_flight=96, recovery_s=16.44))
    assert line.split() == ["kill-child", "2000", "0", "0", "0", "3", "(≤", "160)", "96", "16.4", "s", "ok"]
    assert len(HEADINGS) == len(WIDTHS)


def test_a_failed_finding_says_so():
    assert finding_line(Finding("kill-child", 2000, reasons=("rows with no end",))).endswith("FAILED")


def test_processes_of_another_folder_are_nobodys_business(tmp_path):
    assert of_stage(tmp_path) == []


# The saboteur.


@pytest.fixture
def order(tmp_path):
    """Gives an order, as the lab does."""

    def give(text):
        (tmp_path / sabotage.ORDERS).write_text(text)

    return give


@pytest.fixture
def orders(tmp_path):
    """Orders that are read anew each time they are asked for."""
    ticks = iter(range(10_000))
    return sabotage.Orders(tmp_path / sabotage.ORDERS, lambda: float(next(ticks)))


def test_without_an_order_nothing_is_broken(orders, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "replace", os.replace)
    sabotage.break_renames(orders)
    (tmp_path / "a").touch()
    (tmp_path / "a").replace(tmp_path / "b")
    assert (tmp_path / "b").exists()


def test_an_order_that_is_half_written_is_none(order, orders):
    order('{"clock_s": ')
    assert orders.now() == {}


def test_an_order_is_read_again_only_after_a_while(order, tmp_path):
    now = [0.0]
    orders = sabotage.Orders(tmp_path / sabotage.ORDERS, lambda: now[0])
    order('{"clock_s": 1}')
    assert orders.now() == {"clock_s": 1}
    order('{"clock_s": 2}')
    assert orders.now() == {"clock_s": 1}
    now[0] += sabotage.READ_AGAIN_S
    assert orders.now() == {"clock_s": 2}


def test_only_one_process_takes_an_order(order, orders):
    order("{}")
    assert orders.take()
    assert not orders.take()


def test_the_wall_clock_jumps_and_the_monotonic_one_does_not(order, orders, monkeypatch):
    monkeypatch.setattr(time, "time", time.time)
    monkeypatch.setattr(time, "time_ns", time.time_ns)
    wall, steady = time.time(), time.monotonic()
    sabotage.shift_clock(orders)
    order('{"clock_s": -3600}')
    assert time.time() - wall == pytest.approx(-3600, abs=60)
    assert time.time_ns() / 1e9 - wall == pytest.approx(-3600, abs=60)
    assert time.monotonic() - steady < 60


def test_a_full_disk_lets_only_the_named_files_fail(order, orders, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "replace", os.replace)
    sabotage.break_renames(orders)
    order('{"no_space": "/parts/"}')
    (tmp_path / "parts").mkdir()
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="No space") as raised:
        (tmp_path / "a").replace(tmp_path / "parts" / "b")
    assert raised.value.errno == errno.ENOSPC
    (tmp_path / "a").replace(tmp_path / "c")


_DIES = """
import sys, time
from pathlib import Path
from pipeline.faultlab import sabotage
folder = Path(sys.argv[1])
sabotage.break_renames(sabotage.Orders(folder / sabotage.ORDERS, time.monotonic))
(folder / "a").replace(folder / "parts" / "b")
"""


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_a_writer_dies_once_right_before_or_after_the_rename(order, tmp_path, when, there):
    order(f'{{"kill": "{when}", "path": "/parts/"}}')
    (tmp_path / "parts").mkdir()
    (tmp_path / "a").touch()
    died = subprocess.run([sys.executable, "-c", _DIES, str(tmp_path)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert (tmp_path / "parts" / "b").exists() == there
    assert not (tmp_path / sabotage.ORDERS).exists()
