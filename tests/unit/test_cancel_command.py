"""A run is marked as cancelled only by a command that may end it: a mark stops whoever has it."""

import asyncio

import pytest
from click.testing import CliRunner

from pipeline.cli.cancel_command import refuse_elsewhere
from pipeline.cli.main import main
from pipeline.cli.preparing import found
from pipeline.core.errors import RunConflict
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.edges.run_folder import LocalRunFolder

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def folder(tmp_path):
    made = LocalRunFolder(tmp_path / "out", "run-1")
    made.describe({"run_id": "run-1", "token": "t", "carried": {}, "requests": 1, "rows": 1})
    return made


@pytest.fixture
def identity(monkeypatch):
    """Any server is the one of this name."""

    async def named(_):
        return "here"

    monkeypatch.setattr(RedisLedger, "identity", named)


@pytest.mark.usefixtures("identity")
def test_a_run_of_another_ledger_is_refused_before_it_is_marked(folder):
    folder.begin("redis://other:6379/0", "there")
    words = ["cancel", "run-1", "--out", str(folder.out), "--redis", NOWHERE]
    said = CliRunner().invoke(main, words)
    assert said.exit_code != 0
    assert not folder.cancelled
    assert folder.begun_in() == {"place": "redis://other:6379/0", "identity": "there"}
    with pytest.raises(RunConflict, match="was begun with the ledger at redis://other"):
        asyncio.run(refuse_elsewhere(found(folder), NOWHERE))


@pytest.mark.usefixtures("identity")
def test_the_same_server_under_another_name_may_cancel(folder):
    folder.begin("redis://other:6379/0", "here")
    asyncio.run(refuse_elsewhere(found(folder), NOWHERE))


def test_a_runs_own_ledger_may_be_away_when_it_is_cancelled(folder):
    folder.begin(NOWHERE, "there")
    asyncio.run(refuse_elsewhere(found(folder), NOWHERE))
