"""What the doctor makes of a Redis server, of the fleet on it and of this machine: each thing that may be wrong."""

import pytest

from pipeline.core.checkup import Level
from pipeline.core.checkup_fleet import FleetFacts, WorkerSeen, of_files, of_fleet, of_schedules, of_spill
from pipeline.core.checkup_redis import RedisFacts, of_clocks, of_redis, unreachable
from pipeline.core.schedules import Book, Cause, Firing, FiringState, Schedule

GB = 1024**3


def levels(findings):
    found = list(findings)
    assert all(finding.todo for finding in found if finding.level is not Level.OK), "what is wrong says what to do"
    assert all(finding.found for finding in found)
    return {finding.name: finding.level.value for finding in found}


INFO = {"redis_version": "7.2.4", "aof_enabled": 1, "maxmemory": 0, "maxmemory_policy": "noeviction", "used_memory": GB}


def redis_is(info=None, **facts):
    usual = {"config": {"appendfsync": "everysec", "save": ""}, "socket": True, "local": True, "pings_s": [0.0002] * 50}
    return levels(of_redis(RedisFacts(INFO | (info or {}), **(usual | facts))))


def test_a_good_server():
    names = ("Redis", "persistence", "eviction", "latency", "access")
    assert redis_is() == dict.fromkeys(names, "ok")


@pytest.mark.parametrize(
    ("info", "name", "level"),
    [
        ({"redis_version": "6.0.9"}, "Redis", "error"),
        ({"loading": "1"}, "Redis", "error"),
        ({"cluster_enabled": 1}, "Redis", "error"),
        ({"redis_mode": "sentinel"}, "Redis", "error"),
        ({"aof_enabled": "0"}, "persistence", "warning"),
        ({"aof_last_write_status": "err"}, "persistence", "error"),
        ({"rdb_last_bgsave_status": "err"}, "persistence", "ok"),  # it saves no snapshots
        ({"maxmemory": GB, "maxmemory_policy": "allkeys-lru"}, "eviction", "error"),
        ({"maxmemory": GB, "maxmemory_policy": "volatile-ttl"}, "eviction", "error"),
        ({"maxmemory": 0, "maxmemory_policy": "allkeys-lru"}, "eviction", "ok"),
        ({"maxmemory": 2 * GB}, "memory", "ok"),
        ({"maxmemory": GB * 10 // 9}, "memory", "warning"),
        ({"maxmemory": GB}, "memory", "error"),
        ({"role": "slave"}, "replication", "error"),
        ({"connected_slaves": 2}, "replication", "warning"),
    ],
)
def test_a_server_that_may_lose_or_refuse_rows_is_told(info, name, level):
    assert redis_is(info)[name] == level


@pytest.mark.parametrize(
    ("facts", "name", "level"),
    [
        ({"config": {"appendfsync": "no"}}, "persistence", "warning"),
        ({"config": {"appendfsync": "always"}}, "persistence", "ok"),
        ({"config": {}}, "persistence", "ok"),  # a cautious server does not tell
        ({"pings_s": [0.006] * 50}, "latency", "warning"),
        ({"pings_s": [0.06] * 50}, "latency", "warning"),
        ({"pings_s": [0.001] * 48 + [0.4] * 2}, "latency", "warning"),
        ({"pings_s": [0.001]}, "latency", "ok"),
        ({"socket": False, "local": True, "password": False}, "access", "warning"),
        ({"socket": False, "local": True, "password": True}, "access", "ok"),
        ({"socket": False, "local": False, "password": True}, "access", "warning"),
        ({"socket": False, "local": False, "password": True, "encrypted": True}, "access", "ok"),
    ],
)
def test_how_a_server_is_reached_and_set_is_told(facts, name, level):
    assert redis_is(**facts)[name] == level


def test_a_snapshot_that_failed_stops_writes_where_there_are_snapshots():
    told = redis_is({"rdb_last_bgsave_status": "err"}, config={"save": "3600 1"})
    assert told["persistence"] == "error"


@pytest.mark.parametrize(
    ("told", "todo"),
    [
        ("Redis does not answer as it should: Authentication required.", "user and password"),
        ("invalid username-password pair or user is disabled.", "right user and password"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "VIDBATCH_REDIS_CA_FILE"),
        ("Error 111 connecting to 127.0.0.1:1. Connection refused.", "see that it runs"),
    ],
)
def test_why_a_server_refuses_decides_what_to_do(told, todo):
    assert todo in unreachable(told).todo


def test_a_slow_server_is_named_more_strongly_the_slower_it_is():
    found = [next(f for f in of_redis(RedisFacts(INFO, pings_s=[s] * 50)) if f.name == "latency") for s in (0.01, 0.1)]
    assert "more workers are needed" in found[0].found
    assert "waits for it more than it works" in found[1].found


@pytest.mark.parametrize(
    ("redis_s", "api_s", "told"),
    [
        (0.2, -1.0, {"clocks": "ok"}),
        (-40.0, None, {"clocks": "warning"}),
        (None, 400.0, {"clocks": "warning"}),
        (None, None, {}),
    ],
)
def test_clocks_that_differ_are_told(redis_s, api_s, told):
    assert levels(of_clocks(redis_s, api_s)) == told


# The fleet.

ALL = ("submit", "poll", "write", "control")
WORKER = WorkerSeen("w-1", True, ALL, dict.fromkeys(ALL, 2), ("mine",))


def fleet(*workers, heartbeat="w-1", key="mine", **facts):
    return levels(of_fleet(FleetFacts(workers, heartbeat, key=key, **facts)))


def test_a_good_fleet():
    names = ("workers", "roles", "workers' keys", "heartbeat", "queues")
    assert fleet(WORKER) == dict.fromkeys(names, "ok")
    assert fleet(WORKER, key="") == dict.fromkeys(names, "ok")


def test_nobody_at_work_is_an_error_and_all_there_is_to_say():
    assert fleet() == {"workers": "error"}
    assert fleet(WorkerSeen("old", False)) == {"workers": "error"}


def test_a_fleet_of_two_versions_is_told():
    assert fleet(WORKER, WorkerSeen("old", False))["workers"] == "warning"


def test_a_role_that_nobody_serves_is_an_error():
    [roles] = [
        f
        for f in of_fleet(FleetFacts([WorkerSeen("w", True, ALL[:3], dict.fromkeys(ALL, 1), ("mine",))]))
        if f.name == "roles"
    ]
    assert (roles.level, "control" in roles.found, "--roles control" in roles.todo) == (Level.ERROR, True, True)


def test_a_key_that_no_worker_holds_is_an_error():
    assert fleet(WORKER, key="other")["workers' keys"] == "error"
    half = WorkerSeen("w-2", True, ("submit",), dict.fromkeys(ALL, 1), ("other",))
    assert fleet(WORKER, half, key="other")["workers' keys"] == "error"
    assert fleet(WORKER, WorkerSeen("w-2", True, ("submit",), dict.fromkeys(ALL, 1)))["workers' keys"] == "warning"
    writer = WorkerSeen("w-3", True, ("write", "control"), dict.fromkeys(ALL, 1))
    assert "workers' keys" not in fleet(writer)


def test_senders_that_read_different_folders_are_told():
    rooted = WorkerSeen("w-2", True, ALL, dict.fromkeys(ALL, 1), ("mine",), ("/videos",))
    assert fleet(WORKER, rooted)["media roots"] == "warning"
    assert fleet(rooted)["media roots"] == "ok"


def test_a_heartbeat_that_nobody_has_and_tickets_that_pile_up_are_told():
    assert fleet(WORKER, heartbeat="")["heartbeat"] == "warning"
    assert fleet(WORKER, queued={"poll": 7})["queues"] == "warning"
    assert fleet(WORKER, queued={"poll": 6})["queues"] == "ok"


# Schedules and this machine.


def book(name, paused=False):
    return Book(Schedule(name, "0 2 * * *", "UTC", ("run",), "/", paused=paused), 0)


def firing(exit_code):
    return Firing("f", 0, Cause.CRON, FiringState.ENDED, 0, exit_code=exit_code, said="2 rows failed")


def test_a_night_that_failed_is_told():
    [failed] = of_schedules([(book("nightly"), firing(1)), (book("weekly"), firing(0))])
    assert failed.level is Level.WARNING
    assert "nightly" in failed.found
    assert "2 rows failed" in failed.found
    good = [(book("nightly"), firing(0)), (book("weekly", paused=True), None)]
    assert levels(of_schedules(good)) == {"schedules": "ok"}
    assert levels(of_schedules([])) == {}


def test_steps_that_wait_on_this_machine_are_told():
    assert levels(of_spill(0, "/s")) == {}
    assert levels(of_spill(2, "/s")) == {"spilled steps": "warning"}


@pytest.mark.parametrize(("most", "level"), [(64, "error"), (256, "warning"), (1024, "ok"), (4096, "ok")])
def test_too_few_open_files_are_told(most, level):
    assert levels([of_files(most)]) == {"open files": level}
    assert ("--mode stream" in of_files(most).found) is (most == 1024)
