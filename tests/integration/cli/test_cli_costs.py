"""What a row costs the broker: tickets name no rows, so their number follows from time, not from the manifest."""

import redis

ROWS = 1_200


def test_a_run_sends_celery_messages_by_the_second_and_not_by_the_row(terminal, fleet, simulator, manifest):
    api = simulator(latency="0s")
    with redis.Redis.from_url(fleet.url) as client:
        client.config_resetstat()
        ran = terminal("run", manifest(ROWS).path, "--out", "out", "--base-url", api.base_url, "--yes")
        calls = {name: told["calls"] for name, told in client.info("commandstats").items()}
    assert ran.code == 0, ran.err
    assert api.summary()["posts_accepted"] == ROWS
    messages, round_trips = calls["cmdstat_lpush"], calls["cmdstat_evalsha"] + calls.get("cmdstat_eval", 0)
    assert messages / ROWS <= 0.1
    assert round_trips / ROWS <= 0.9, "heartbeats and the command's looks included, which come by the second, too"
