"""A key is replaced while a run is under way: the workers take the new one, and the run ends as if nothing had been."""

import orjson
import pytest

OLD, NEW = "sk-old-key-of-the-tests", "sk-new-key-of-the-tests"
ROWS = 60


@pytest.fixture(params=["FILE", "COMMAND"])
def holds(request, tmp_path):
    """A file with the key, and the variable that leads there."""
    file = tmp_path / "key"
    file.write_text(OLD)
    file.chmod(0o600)
    return file, {"FILE": str(file), "COMMAND": f"cat {file}"}[request.param], f"VIDBATCH_API_KEY_{request.param}"


@pytest.mark.slow
def test_a_run_goes_on_with_the_new_key_once_the_old_one_is_refused(alone, redis_url, simulator, manifest, holds):
    file, told, variable = holds
    api = simulator(latency="1s", keys=OLD)
    alone.environment |= {variable: told, "VIDBATCH_REDIS": redis_url, "VIDBATCH_POLL": "fixed:200ms"}
    alone.environment.pop("VIDBATCH_API_KEY")
    worker = alone.starts("worker", "--workers", 2)
    ran = alone(
        *("run", manifest(ROWS).path, "--out", "out", "--base-url", api.base_url, "--yes", "--detach"),
        *("--max-in-flight", 5),
    )
    assert ran.code == 0, ran.err
    [run] = (alone.folder / "out" / "runs").glob("2*")
    worker.until(lambda: api.summary()["completed"] >= 5, "the first rows are through")
    api.set(keys=NEW)
    worker.until(lambda: "refused" in alone("status", run.name).out, "the old key is refused")
    before = api.summary()["completed"]
    assert before < ROWS
    file.write_text(NEW)
    worker.until((run / "done.json").exists, "the run ends")
    summary = orjson.loads((run / "done.json").read_bytes())
    assert summary["outcomes"]["completed"] == ROWS
    assert api.summary()["posts_accepted"] == ROWS, "something was paid twice"
    with_both = worker.said + "".join(path.read_text(errors="replace") for path in run.rglob("*") if path.is_file())
    assert not [key for key in (OLD, NEW) if key in with_both]
    worker.process.terminate()
    assert worker.ends().code == 0
