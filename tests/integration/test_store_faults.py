"""Redis goes away in the middle of a run and comes back: workers live on, and no row is lost or doubled."""

import os
import signal

import pytest

ROWS = 240


@pytest.mark.chaos
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_private_server_that_ends_is_started_again_and_the_worker_lives_on(
    simulator, manifest, vidbatch, audit, faults, how
):
    api = simulator(latency="3s", submit_delay="1s")
    run = vidbatch(manifest(ROWS), api)
    command = run.run()
    run.until(lambda now: now.submitting and now.pending, "rows in flight")
    server, worker, children = run.server_pid(), run.worker(), {child.pid for child in run.children()}
    os.kill(server, how)
    faults.eventually(lambda: run.server_pid() not in {None, server}, "another server runs")
    faults.eventually(run.look, "it answers")
    assert run.worker() == worker
    assert {child.pid for child in run.children()} == children
    command.ends(0)
    found = audit(run, api)
    faults.report(f"Redis ended by {how.name}", found)
    assert not found.flagged


def test_a_server_that_is_frozen_is_not_taken_for_dead(state, server):
    server.enter()
    os.kill(server.pid, signal.SIGSTOP)
    before = server.pid
    server.keep_alive()
    os.kill(server.pid, signal.SIGCONT)
    assert server.pid == before
    server.leave()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_was_started_again_knows_what_it_acknowledged(state, server, how, faults):
    import redis

    server.enter()
    with redis.Redis.from_url(server.url) as client:
        client.set("intent", "to send")
    first = server.pid
    os.kill(first, how)
    faults.eventually(lambda: server.keep_alive() or server.pid not in {None, first}, "another server runs")
    with redis.Redis.from_url(server.url) as client:
        assert client.get("intent") == b"to send"
    server.leave()
    assert server.pid is None


@pytest.fixture
def server(state):
    from pipeline.edges.embedded import EmbeddedServer, server_binary

    return EmbeddedServer(state, server_binary(os.environ["PATH"]))


def test_a_worker_whose_command_was_killed_stops_the_server_when_nobody_else_uses_it(state, server):
    from pipeline.edges.embedded import SERVER_USE, leave_server

    server.enter()
    told = {"VIDBATCH_STATE": str(state), SERVER_USE: str(server.use_by_child())}
    other = {"VIDBATCH_STATE": str(state), SERVER_USE: str(server.use_by_child())}
    os.close(server._users)  # as the kernel does for a command that was killed
    leave_server(other)
    assert server.pid is not None, "another worker is still at work"
    leave_server(told)
    assert server.pid is None
    leave_server({"VIDBATCH_STATE": str(state)})
