"""A look at a video never goes where a cloud tells a machine its credentials, whatever leads there."""

import socket

import pytest

from pipeline.edges.http_probe import Probe, _Resolver, is_forbidden

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.parametrize(
    ("host", "forbidden"),
    [
        ("169.254.169.254", True),
        ("::ffff:169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("fd00:ec2::254", True),
        ("10.0.0.5", False),
        ("127.0.0.1", False),
        ("videos.example", False),
    ],
)
async def test_some_addresses_hold_no_video(host, forbidden):
    assert is_forbidden(host) is forbidden


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest/meta-data/", "http://[::ffff:a9fe:a9fe]/"])
async def test_such_an_address_is_not_asked(url):
    probe = Probe()
    seen = await probe.look(url)
    await probe.close()
    assert seen.trouble == "forbidden_address"


async def test_a_name_that_leads_there_is_not_followed(monkeypatch):
    there = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: there)
    with pytest.raises(ValueError, match="is not looked at"):
        await _Resolver().resolve("innocent.example", 80)
