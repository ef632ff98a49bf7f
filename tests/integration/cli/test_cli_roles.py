"""Workers with numbers of shifts by role: none takes more of one role than it was given, so no other role starves."""

import psutil
import pytest
import redis

OURS, SENDS_ONLY = "submit,poll,write,control", "submit=4"


@pytest.mark.slow
def test_long_shifts_of_one_role_leave_a_worker_its_seats_for_the_others(alone, redis_url, simulator, manifest):
    api = simulator(latency="8s")
    all_roles, sender = (alone.starts("worker", "--redis", redis_url, "--roles", roles) for roles in (OURS, SENDS_ONLY))
    with redis.Redis.from_url(redis_url) as client:
        all_roles.until(lambda: len(list(client.scan_iter("vidbatch:worker:*"))) == 2, "both workers are there")
        command = alone.starts(
            *("run", manifest(900).path, "--out", "out", "--base-url", api.base_url, "--yes", "--redis", redis_url),
            *("--mode", "sync"),
        )

        def senders():
            found = [
                name for key in client.scan_iter("vidbatch:run:*:shifts:submit") for name in client.zrange(key, 0, -1)
            ]
            return {int(name.decode().rsplit("-", 2)[1]) for name in found}

        command.until(lambda: len(senders()) == 5, "as many send at a time as the two were given")
        children = {
            one: {child.pid for child in psutil.Process(one.process.pid).children()} for one in (all_roles, sender)
        }
        assert [len(senders() & children[one]) for one in (all_roles, sender)] == [1, 4]
    said = command.ends()
    assert (said.code, "rows: 900 = 900 completed" in said.err) == (0, True), said.err


def test_a_role_that_does_not_exist_is_named_with_what_is_allowed(alone):
    said = alone("worker", "--redis", "redis://127.0.0.1:1/0", "--roles", "submit=4,pol=2")
    assert said.code == 2
    assert "found 'pol=2' in 'submit=4,pol=2'; allowed are submit, poll, write, control" in said.err
