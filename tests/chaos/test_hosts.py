"""Three hosts and their cables: what is cut and what is slow costs no row, and nobody else waits for it."""

import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from pipeline.edges.embedded import server_binary
from tests.hosted_fleet import API, LEDGER, SENDERS, HostedFleet, passed
from tests.hosts import network

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

CUT_S = 30.0
GO_ON = 200
"""Rows that the other host ends meanwhile, at least: a fifth of what it could, on a machine that is busy."""

BACK_WITHIN_S = 45.0
"""After a cable is back: as long again as it was gone, which is how TCP counts, and one time-out of Redis's client."""


@pytest.fixture
def fleet(manifest, tmp_path):
    """Makes a fleet for a manifest of so many rows."""
    state = Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))
    with network(LEDGER, API) as net:
        yield lambda rows: HostedFleet(net, tmp_path, state, manifest(rows), server_binary("/usr/bin:/bin"))
    shutil.rmtree(state, ignore_errors=True)


@pytest.mark.parametrize("cables", [(LEDGER, API), (LEDGER,), (API,)], ids=["both", "ledger", "api"])
@pytest.mark.parametrize("silently", [False, True], ids=["pulled", "silent"])
def test_a_host_is_cut_off_for_half_a_minute_in_mid_run(fleet, audit, faults, cables, silently):
    hosts = fleet(2_400)
    api = hosts.serve(faults.eventually, latency="4s", submit_delay="1s")
    command = hosts.run(api, "--max-in-flight", 160, "--poll", "fixed:500ms")
    cut_host, other = SENDERS

    def at_work():
        return (now := hosts.look()) and now.ended >= 200 and len(hosts.held(cut_host, "submitting")) >= 5

    faults.eventually(at_work, "both senders are at work")
    two_thirds, half_a_minute = passed(CUT_S * 2 / 3), passed(CUT_S)
    (hosts.net.lose if silently else hosts.net.cut)(cut_host, *cables)
    in_hand = hosts.held(cut_host, "submitting")
    before = hosts.look()
    faults.eventually(two_thirds, "whoever was held up by the cut has noticed")
    later = hosts.look()
    faults.eventually(half_a_minute, "the cable is back")
    after = hosts.look()
    left = [row for row, held in hosts.held(cut_host, "submitting").items() if in_hand.get(row) == held]
    hosts.net.mend(cut_host, *cables)
    mended_ms, mended = hosts.now_ms(), time.monotonic()

    def took_up():
        return any(row.since_ms > mended_ms for row in hosts.held(cut_host, "submitting").values())

    faults.eventually(took_up, "the host that was cut off sends again")
    back_after = time.monotonic() - mended
    hosts.workers[other].send_signal(signal.SIGTERM)
    assert command.wait(200) == 0, hosts.said()
    found = audit(hosts, api, unanswered_allowed=len(in_hand))
    faults.report(
        f"cut for {CUT_S:g} s with {len(in_hand)} rows in hand, {len(left)} of them still; "
        f"meanwhile {after.ended - before.ended} rows ended, {after.ended - later.ended} in the last third; "
        f"the host was back after {back_after:.1f} s",
        found,
    )
    assert after.ended - before.ended >= GO_ON
    assert after.ended - later.ended >= GO_ON / 2
    assert found.flagged <= in_hand.keys()
    assert back_after <= BACK_WITHIN_S


@pytest.mark.parametrize("cables", [(LEDGER,), (API,), (LEDGER, API)], ids=["ledger", "api", "both"])
def test_over_a_slow_cable_no_lease_lapses_and_no_row_is_sent_twice(fleet, audit, faults, cables):
    hosts = fleet(600)
    api = hosts.serve(faults.eventually, latency="2s")
    slow_host, other = SENDERS
    for cable in cables:
        hosts.net.slow(slow_host, cable, "256kbit")
    hosts.workers[other].send_signal(signal.SIGTERM)
    assert hosts.workers[other].wait(40) == 0
    began = time.monotonic()
    command = hosts.run(api, "--poll", "fixed:1s", "--system-prompt", "Look closely. " * 120)
    assert command.wait(400) == 0, hosts.said()
    found = audit(hosts, api)
    faults.report(f"600 rows of 2 kB over 256 kbit/s in {time.monotonic() - began:.0f} s", found)
    assert not found.flagged
    assert api.summary()["posts_received"] == 600
