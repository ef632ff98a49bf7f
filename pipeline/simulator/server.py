"""Starting and stopping a simulator: in the caller's event loop, or as the whole of a process."""

import asyncio
import gc
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.core.errors import SystemTrouble
from pipeline.simulator.app import App
from pipeline.simulator.clips import SHIPPED_FOLDER
from pipeline.simulator.downloads import Downloads
from pipeline.simulator.listener import Listener
from pipeline.simulator.media import Shelf
from pipeline.simulator.protocol import Connection
from pipeline.simulator.settings import SimulatorSettings

_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A simulator that listens; `app` holds its books and switches."""

    app: App
    host: str
    port: int
    _listener: Listener
    _connections: set[Connection]
    _downloads: Downloads | None

    @property
    def base_url(self) -> str:
        """The URL under which a client on this machine reaches it, without a trailing slash."""
        host = _ANY_ADDRESS.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def close(self) -> None:
        """Stop listening, drop every connection, stop looking at videos."""
        for connection in tuple(self._connections):
            connection.close()
        await self.app.close()
        if self._downloads is not None:
            await self._downloads.close()
        await self._listener.close()


async def serve(settings: SimulatorSettings) -> RunningServer:
    """Start a simulator in the running event loop; raises SystemTrouble when it can't listen."""
    loop = asyncio.get_running_loop()
    folders = [SHIPPED_FOLDER] if settings.media_folder is None else [SHIPPED_FOLDER, settings.media_folder]
    downloads = None if settings.fast else Downloads(settings.max_video_bytes)
    app = App(settings, Shelf(folders), downloads, loop.time, time.time)
    if downloads is not None:
        downloads.own = app.uploads.path_of
    connections: set[Connection] = set()
    listener = Listener(
        lambda: Connection(app.handle, settings.max_body_bytes, connections, app.intake), settings.host, settings.port
    )

    def refuse(seconds: float) -> None:
        listener.refuse(seconds)
        for connection in connections:
            connection.retire()

    app.on_refuse = refuse
    try:
        await listener.open()
    except SystemTrouble:
        await app.close()
        if downloads is not None:
            await downloads.close()
        raise
    return RunningServer(app, settings.host, listener.port, listener, connections, downloads)


def run(settings: SimulatorSettings, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called once with the base URL."""
    # Nothing here makes cycles worth hunting often: the collector's usual pace costs 5 µs a request.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(_serve_until_told(settings, ready))


async def _serve_until_told(settings: SimulatorSettings, ready: Callable[[str], None]) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, told.set)
        except NotImplementedError:  # Windows: Ctrl-C arrives as KeyboardInterrupt
            break
    server = await serve(settings)
    ready(server.base_url)
    try:
        await told.wait()
    finally:
        await server.close()


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop where it exists: it halves what a request costs."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
