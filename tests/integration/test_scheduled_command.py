"""The command as schedules give it, the real one: handed over, refused, and what OUT says of its run."""

import asyncio
import os

import pytest

from pipeline.cli.run_end import told
from pipeline.core.filling import filled
from pipeline.core.schedules import Schedule
from pipeline.edges.launching import CommandLauncher
from pipeline.edges.redis_ledger import RedisLedger
from tests.seals import seal

KEY, API = "sk-scheduled", "http://127.0.0.1:9"
AT = 1_774_746_000_000  # 2026-03-29 03:00 in Berlin


@pytest.fixture
def launcher(redis_url, tmp_path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VIDBATCH_")}
    key = tmp_path / "key"
    key.write_text(KEY)
    given = {"VIDBATCH_REDIS": redis_url, "VIDBATCH_API_KEY_FILE": str(key), "VIDBATCH_STATE": str(tmp_path / "state")}
    return CommandLauncher({**clean, **given, "VIDBATCH_MODEL": "the workers' own"})


def test_a_command_is_handed_over_in_its_folder_and_out_says_that_its_run_goes_on(launcher, redis_url, tmp_path):
    (tmp_path / "day-2026-03-29.csv").write_text("id,video_url,prompt\na,https://videos.example/a.mp4,What is this?\n")
    command = ("day-{date}.csv", "--out", "out-{weekday}", "--base-url", API)
    schedule = Schedule("nightly", "30 2 * * *", "Europe/Berlin", command, str(tmp_path))
    unsealed = asyncio.run(launcher.launch(schedule, "20260329T010000Z", filled(schedule, AT)))
    assert unsealed.exit_code == 5, "who may write schedules into Redis has the key sent to an address of his own"
    assert f"--base-url: found {API}, where nobody who holds the key has said" in unsealed.said
    seal(redis_url, KEY, API)
    elsewhere = (*filled(schedule, AT), "--redis", "redis://127.0.0.1:9")
    named = asyncio.run(launcher.launch(schedule, "20260329T010000Z", elsewhere))
    assert named.exit_code == 2, "whose server gets the password of the worker's"
    assert "--redis: found in a schedule's command" in named.said

    async def scene():
        launched = await launcher.launch(schedule, "20260329T010000Z", filled(schedule, AT))
        assert (launched.exit_code, launched.out) == (None, str(tmp_path / "out-7")), launched
        ledger = RedisLedger(redis_url)
        run, card = await ledger.snapshot(launched.run_id), await ledger.card(launched.run_id)
        await ledger.close()
        assert (run.total, card.detached) == (1, True)
        found = await launcher.ended(str(tmp_path), launched.run_id, launched.out)
        assert (found.known, found.exit_code) == (True, None)
        return launched.out

    unknown = told("run-of-another", asyncio.run(scene()))
    assert not unknown["known"]
    assert "does not hold it" in unknown["said"]


def test_a_manifest_that_is_not_there_is_told_in_its_own_words(launcher, tmp_path):
    schedule = Schedule("nightly", "30 2 * * *", "Europe/Berlin", ("day-{date}.csv", "--out", "out"), str(tmp_path))
    launched = asyncio.run(launcher.launch(schedule, "20260329T010000Z", filled(schedule, AT)))
    assert launched.exit_code == 2
    assert "day-2026-03-29.csv" in launched.said
