"""A scheduled command as a process: what it is told, what it says, and how it is ended."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline.core.schedules import Schedule
from pipeline.edges import launching
from pipeline.edges.launching import OUTPUT_BYTES, CommandLauncher, command_environment, outcome
from pipeline.ports import Launched, RunEnd

pytestmark = pytest.mark.anyio

WITHIN_S = 20


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def given(monkeypatch, tmp_path):
    """Gives a program in the place of `vidbatch`; its arguments follow."""

    async def give(program, *arguments, folder=None, environment=None):
        monkeypatch.setattr(launching, "COMMAND", ("-c", program))
        schedule = Schedule("s", "0 2 * * *", "UTC", (), str(folder or tmp_path))
        launcher = CommandLauncher(environment or {"PATH": os.environ["PATH"]})
        return await asyncio.wait_for(launcher.launch(schedule, "20260101T020000Z", arguments), WITHIN_S)

    return give


@pytest.mark.parametrize(
    ("code", "printed", "complained", "launched"),
    [
        (0, b'{"run_id":"r","out":"/o","state":"detached"}\n', b"planned", Launched(None, "r", "/o")),
        (0, b'{"run_id":"r","out":"/o","state":"finished"}\n', b"", Launched(0, "r", "/o")),
        (1, b'{"a":1}\nnoise\n{"run_id":"r","out":"/o"}\n', b"", Launched(1, "r", "/o")),
        (2, b"", b"one\nvidbatch: no such file\n\n", Launched(2, said="no such file")),
        (1, b"", b"Traceback\nValueError: x\n", Launched(5, said="ValueError: x")),
        (1, b"", b"", Launched(5, said="the command failed and did not say why")),
        (-9, b"", b"", Launched(5, said="the command was ended by signal 9")),
        (0, b"\xff[1]\n", "ü".encode() + b"\xff" * 400, Launched(0, said="ü" + "\ufffd" * 299)),
    ],
)
def test_what_a_command_came_to_is_told_by_its_code_and_last_words(code, printed, complained, launched):
    assert outcome(code, printed, complained) == launched


def test_a_command_is_told_where_and_with_what_to_work_and_not_how_its_worker_does(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    kept = {
        "PATH": "/bin",
        "AWS_REGION": "eu-central-1",
        "VIDBATCH_API_KEY": "sk",
        "VIDBATCH_API_KEY_COMMAND": "vault read key",
        "VIDBATCH_REDIS": "redis://r:6379/0",
        "VIDBATCH_REDIS_USER": "vidbatch",
        "VIDBATCH_MEDIA_ROOT": "/videos",
    }
    files = {"VIDBATCH_API_KEY_FILE": "key", "VIDBATCH_REDIS_PASSWORD_FILE": "/run/password", "VIDBATCH_STATE": "state"}
    dropped = {
        "VIDBATCH_ROLES": "control",
        "VIDBATCH_WORKERS": "4",
        "VIDBATCH_COORDINATOR_PID": "1",
        "VIDBATCH_BASE_URL": "https://elsewhere",
        "VIDBATCH_MODEL": "another",
        "VIDBATCH_NOTIFY_SECRET": "whsec_x",
        "VIDBATCH_REDIS_CA_FILE": "",
    }
    assert command_environment({**kept, **files, **dropped}) == {
        **kept,
        "VIDBATCH_API_KEY_FILE": f"{tmp_path}/key",
        "VIDBATCH_REDIS_PASSWORD_FILE": "/run/password",
        "VIDBATCH_STATE": f"{tmp_path}/state",
    }


async def test_it_is_given_in_the_schedules_folder_with_its_arguments_and_nothing_to_read(given, tmp_path):
    program = (
        "import json, os, sys; words = ' '.join(sys.argv[1:]) + sys.stdin.read();"
        "print(json.dumps({'run_id': os.getcwd(), 'out': words, 'state': 'detached'}))"
    )
    launched = await given(program, "a b.csv", "--out", "{o}")
    assert launched == Launched(None, str(tmp_path), "run a b.csv --out {o} --yes --detach --json")


async def test_a_folder_that_never_answers_stops_the_command_alone(given, monkeypatch, tmp_path):
    settings = {}
    begin = asyncio.create_subprocess_exec

    async def begun(*words, **options):
        settings.update(options)
        return await begin(*words, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begun)
    await given("")
    assert not {"cwd", "preexec_fn"} & settings.keys(), "whoever begins a process waits until it is in its folder"


async def test_it_is_told_which_firing_gives_it(given):
    launched = await given("import os, sys; sys.exit(print(os.environ['VIDBATCH_FIRING'], file=sys.stderr) or 2)")
    assert launched == Launched(2, said="s/20260101T020000Z")


async def test_a_folder_that_is_not_there_is_the_systems_fault(given, tmp_path):
    launched = await given("", folder=tmp_path / "gone")
    assert launched.exit_code == 5
    assert launched.said == f"{tmp_path}/gone: the command can't be given there: No such file or directory"


async def test_however_much_it_says_only_the_last_is_kept(given):
    lines = 4 * OUTPUT_BYTES // 10
    program = f"import sys\nfor n in range({lines}): print('x' * 9); print(f'{{n:09}}', file=sys.stderr)\nsys.exit(2)"
    assert await given(program) == Launched(2, said=f"{lines - 1:09}")


async def test_one_that_never_stops_talking_is_ended(given, monkeypatch):
    monkeypatch.setattr(launching, "MOST_OUTPUT_BYTES", 100_000)
    monkeypatch.setattr(launching, "LOOK_S", 0.05)
    assert (await given("while True: print('x' * 1000, flush=True)")).exit_code == 5


async def test_a_command_that_does_not_return_is_ended_with_all_that_it_started(given, monkeypatch, tmp_path):
    monkeypatch.setattr(launching, "LONGEST_S", 1.0)
    program = (
        "import signal, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "signal.pause()"
    )
    launched = await given(program)
    assert (launched.exit_code, launched.said) == (5, "the command did not return within 0 hours")
    await _gone(int((tmp_path / "pid").read_text()))


async def test_one_that_is_cancelled_is_ended_first(given, tmp_path):
    program = f"import os, signal; open({str(tmp_path / 'new')!r}, 'w').write(str(os.getpid())); "
    program += f"os.rename({str(tmp_path / 'new')!r}, {str(tmp_path / 'pid')!r}); signal.pause()"
    task = asyncio.create_task(given(program))
    async with asyncio.timeout(WITHIN_S):
        while not (tmp_path / "pid").exists():  # noqa: ASYNC110 - another process says so
            await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


async def test_what_it_leaves_behind_keeps_nobody_waiting(given, tmp_path):
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], start_new_session=True)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "sys.exit(2)"
    )
    launched = await given(program)
    psutil.Process(int((tmp_path / "pid").read_text())).kill()
    assert launched.exit_code == 2


async def test_an_out_that_can_not_be_looked_at_knows_no_run(monkeypatch, tmp_path):
    launcher = CommandLauncher({"PATH": os.environ["PATH"]})
    monkeypatch.setattr(launching, "END", ("-c", "import sys; sys.exit('no disk')"))
    assert await launcher.ended(str(tmp_path), "r", "out") == RunEnd(known=False, said="no disk")
    monkeypatch.setattr(launching, "END", ("-c", "print('{\"known\": true}')"))
    assert await launcher.ended(str(tmp_path), "r", "out") == RunEnd(known=True)
    assert not (await launcher.ended(str(tmp_path / "gone"), "r", "out")).known


async def _gone(pid):
    async with asyncio.timeout(WITHIN_S):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_nothing_in_the_folder_is_taken_for_a_module():
    assert "-P" in launching.COMMAND
    assert "-P" in launching.END
    assert Path(sys.executable).is_absolute()
