"""The page that Prometheus reads: one small HTTP server, which ends in good order."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from aiohttp import web

from pipeline.core.errors import SettingsError

Answer = Callable[[str], Awaitable[tuple[bytes, str]]]
"""Makes the page, and tells its type, by what the request accepts."""

LEAVE_S = 10.0
"""A page that is being made when the exporter is told to stop is still sent."""


async def serve(answer: Answer, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve `/metrics` and `/healthz` until SIGTERM or Ctrl-C; `ready` is told the address. SettingsError if taken."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    async def metrics(request: web.Request) -> web.Response:
        page, content_type = await answer(request.headers.get("Accept", ""))
        response = web.Response(body=page, headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    async def health(_: web.Request) -> web.Response:
        """Whether this process answers; whether Redis does is a metric."""
        return web.Response(text="ok\n")

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", health), web.get("/", _root)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=LEAVE_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise SettingsError(
                f"--host {host} --port {port}: nothing can be served there: {error.strerror}"
            ) from error
        ready(_address(runner, host))
        await stopped.wait()
    finally:
        await runner.cleanup()


async def _root(_: web.Request) -> web.Response:
    return web.Response(text="vidbatch: /metrics for Prometheus, /healthz for whoever restarts this\n")


def _address(runner: web.AppRunner, host: str) -> str:
    port = runner.addresses[0][1]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"
