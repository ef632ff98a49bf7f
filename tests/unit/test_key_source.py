"""Where the API key comes from: read again when it is time to, and never quoted."""

import shlex
import sys

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.key_chain import serves
from pipeline.edges.environment import key_from, open_to_others
from pipeline.edges.key_source import COMMAND_EVERY_S, FILE_EVERY_S, REFUSED_EVERY_S, KeySource


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_file_is_looked_at_every_few_seconds_and_read_when_it_changed(tmp_path):
    file, clock = tmp_path / "key", Clock()
    file.write_text("sk-old\n")
    source = KeySource({"VIDBATCH_API_KEY_FILE": str(file)}, clock)
    file.write_text("sk-newer\n")
    assert not source.look(), "it is not time to look yet"
    clock.now += FILE_EVERY_S
    assert source.look()
    assert source.key.reveal() == "sk-newer"
    clock.now += FILE_EVERY_S
    assert not source.look()


@pytest.mark.parametrize("left", ["", "sk with a space", None])
def test_a_file_that_is_half_written_or_away_changes_nothing_until_it_is_whole(tmp_path, left):
    file, clock = tmp_path / "key", Clock()
    file.write_text("sk-old")
    source = KeySource({"VIDBATCH_API_KEY_FILE": str(file)}, clock)
    file.unlink() if left is None else file.write_text(left)
    clock.now += FILE_EVERY_S
    assert not source.look()
    assert source.key.reveal() == "sk-old"
    file.write_text("sk-newest")
    clock.now += FILE_EVERY_S
    assert source.look()


def command(program):
    return shlex.join([sys.executable, "-c", program])


def test_a_command_is_asked_every_five_minutes_and_sooner_while_its_key_is_refused(tmp_path):
    file, clock = tmp_path / "said", Clock()
    file.write_text("sk-old")
    told = {"VIDBATCH_API_KEY_COMMAND": f"cat {file}"}
    source = KeySource(told, clock)
    file.write_text("sk-new")
    assert key_from(told).reveal() == "sk-old", "the same process need not ask twice"
    clock.now += REFUSED_EVERY_S
    assert not source.look()
    assert source.look(refused=True)
    assert source.key.reveal() == "sk-new"
    file.write_text("sk-third")
    clock.now += COMMAND_EVERY_S
    assert source.look()


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("print('sk-secret'); raise SystemExit(3)", "ended with exit code 3"),
        ("", "printed nothing"),
        ("import sys\nwhile True: sys.stdout.write('sk-secret' * 1000)", "printed more than"),
    ],
)
def test_a_command_that_fails_is_named_without_what_it_said(program, says):
    with pytest.raises(SettingsError, match=says) as refused:
        key_from({"VIDBATCH_API_KEY_COMMAND": command(program)})
    assert "sk-secret" not in str(refused.value)
    assert str(refused.value).startswith("VIDBATCH_API_KEY_COMMAND: ")


def test_a_command_that_hangs_is_ended_with_all_that_it_started(monkeypatch):
    monkeypatch.setattr("pipeline.edges.environment.COMMAND_S", 0.3)
    hangs = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import signal; signal.pause()'])"
    with pytest.raises(SettingsError, match="did not end within"):
        key_from({"VIDBATCH_API_KEY_COMMAND": command(hangs)})


def test_a_command_gets_no_shell_and_none_of_our_secrets(tmp_path):
    told = {"VIDBATCH_API_KEY_COMMAND": f"echo sk-$(touch {tmp_path}/made)"}
    with pytest.raises(SettingsError, match="holds a space"):
        key_from(told)
    assert not (tmp_path / "made").exists()
    shows = command("import os; print('sk-' + os.environ.get('VIDBATCH_REDIS_PASSWORD', 'none'))")
    assert key_from({"VIDBATCH_API_KEY_COMMAND": shows, "VIDBATCH_REDIS_PASSWORD": "x"}).reveal() == "sk-none"


def test_a_secret_file_that_others_can_read_is_told(tmp_path):
    file = tmp_path / "key"
    file.write_text("sk-1")
    file.chmod(0o644)
    assert "chmod 600" in open_to_others({"VIDBATCH_API_KEY_FILE": str(file)})
    file.chmod(0o600)
    assert open_to_others({"VIDBATCH_API_KEY_FILE": str(file)}) is None
    assert open_to_others({"VIDBATCH_API_KEY_FILE": "/run/secrets/key"}) is None


@pytest.mark.parametrize(
    ("key", "replaced", "served"),
    [
        ("c", {}, "c"),
        ("c", {"a": "b", "b": "c"}, "abc"),
        ("b", {"a": "b", "b": "c"}, "ab"),
        ("a", {"b": "a"}, "ab"),
        ("c", {"a": "b", "b": "a"}, "c"),
        ("c", {"x": "y"}, "c"),
    ],
)
def test_a_key_serves_the_runs_of_those_whose_place_it_took(key, replaced, served):
    assert serves(key, replaced) == set(served)
