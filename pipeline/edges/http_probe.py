"""Looks at a video's URL: its headers, and its first bytes where those do not tell enough. Some seconds at most.

It goes where the manifest says, and on to where that leads over http(s); it sends no key, no cookie and no referrer.
"""

import asyncio
import socket
from dataclasses import replace
from ipaddress import ip_address, ip_network
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import ResolveResult

from pipeline.core.preflight import LOOKED_AT, NO_SUCH_NAME, Looked, is_enough

WITHIN_S = 8.0
MOST_REDIRECTS = 5
AT_A_HOST = 4

_MOVED = frozenset((301, 302, 303, 307, 308))
_NO_NAME = frozenset((socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)))


FORBIDDEN = tuple(map(ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32")))
"""Where clouds tell machines their credentials, and no video is. A manifest leads us where it wants, redirects too."""


def is_forbidden(host: str) -> bool:
    """Whether an address is one at which no video is looked for; a name is none until it is looked up."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped.version == network.version and mapped in network for network in FORBIDDEN)


class _Resolver(aiohttp.ThreadedResolver):
    """The system's, without the addresses that are forbidden: whatever a name leads to is looked at when it is used."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        if any(is_forbidden(one["host"]) for one in found):
            raise ValueError(f"{host} leads to an address that is not looked at")
        return found


class Probe:
    """One for a process and its event loop; connections open with the first look."""

    def __init__(self, *, at_once: int = 32, within_s: float = WITHIN_S, bytes_too: bool = False) -> None:
        """`bytes_too` fetches the first ones in any case, for who wants to know how long videos are."""
        self._bytes_too = bytes_too
        self._at_once = at_once
        self._within_s = within_s
        self._session: aiohttp.ClientSession | None = None

    async def look(self, url: str) -> Looked:
        """What there is. Never raises."""
        try:
            async with asyncio.timeout(self._within_s):
                seen = await self._asked("HEAD", url)
                return seen if is_enough(seen) and not self._bytes_too else await self._asked("GET", url)
        except aiohttp.ClientConnectorDNSError as error:
            number = getattr(error.os_error, "errno", None)
            return Looked(trouble=NO_SUCH_NAME if number in _NO_NAME else "name_unknown_now")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return Looked(trouble=type(error).__name__)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def _asked(self, method: str, url: str) -> Looked:
        headers = {"user-agent": "vidbatch", "accept-encoding": "identity"}
        if method == "GET":
            headers["range"] = f"bytes=0-{LOOKED_AT - 1}"
        for _ in range(MOST_REDIRECTS + 1):
            if is_forbidden(urlsplit(url).hostname or ""):
                return Looked(trouble="forbidden_address")
            async with self._opened().request(method, url, headers=headers, allow_redirects=False) as answer:
                onward = answer.headers.get("location")
                if answer.status in _MOVED and onward:
                    url = urljoin(url, onward)
                    if urlsplit(url).scheme not in {"http", "https"}:
                        return Looked(trouble="redirect")
                    continue
                head = b"" if method == "HEAD" else await _beginning(answer)
                return replace(_headers_of(answer), head=head)
        return Looked(trouble="redirects")

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_Resolver(), limit=self._at_once, limit_per_host=AT_A_HOST, force_close=True
            )
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
            )
        return self._session


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    """The first bytes of a body: a server that knows no ranges sends all of it, and is not heard to its end."""
    head = b""
    while len(head) < LOOKED_AT and (piece := await answer.content.read(LOOKED_AT - len(head))):
        head += piece
    return head


def _headers_of(answer: aiohttp.ClientResponse) -> Looked:
    whole = answer.headers.get("content-range", "").rpartition("/")[2]
    told = answer.headers.get("content-length", "") if answer.status != 206 else whole  # noqa: PLR2004 - a range of it
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Looked(answer.status, content_type=kind, length=int(told) if told.isdecimal() else None)
