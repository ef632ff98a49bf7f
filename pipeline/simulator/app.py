"""Routes to answers: what the simulator says to each request.

It knows nothing of sockets: `App.handle` takes a whole request and returns a whole answer, at once where nothing
delays it.
"""

from collections.abc import Awaitable, Callable

from pipeline.simulator.admin import Admin
from pipeline.simulator.generations import Generations, Viewer
from pipeline.simulator.media import Shelf
from pipeline.simulator.messages import Answer, Request, Response
from pipeline.simulator.openapi import OPENAPI_PATH, description
from pipeline.simulator.queries import TASK_PREFIX, Queries
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.state import State, as_json, refused
from pipeline.simulator.stream_route import StreamRoute, is_stream_path
from pipeline.simulator.submissions import Submissions
from pipeline.simulator.tasks import SUBMIT_PATH
from pipeline.simulator.traffic import Traffic
from pipeline.simulator.uploads import FILES_PREFIX, UPLOAD_PATH, Uploads
from pipeline.simulator.validation import Refusal, most_videos

__all__ = ["SUBMIT_PATH", "TASK_PREFIX", "App"]

MEDIA_PREFIX = "/media/"
MODELS_PATH = "/v1/configs/llm_generations_models"
CREDITS_PATH = "/v1/account/credits"

_NO_ROUTE = Refusal(404, "not_found", "There is nothing at this path.")
_WRONG_METHOD = Refusal(405, "invalid_request_error", "This path does not take this method.")


class App:
    """One simulator's routes over its state."""

    def __init__(
        self,
        settings: SimulatorSettings,
        shelf: Shelf,
        viewer: Viewer | None,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """`clock` is monotonic seconds, `wall` unix seconds; no viewer means fast mode."""
        self._state = State(settings, viewer, clock, wall)
        self._shelf = shelf
        self._submissions = Submissions(self._state)
        self._queries = Queries(self._state)
        self._streams = StreamRoute(self._state)
        self.uploads = Uploads(self._state)
        self.intake = self.uploads.intake
        """Says of a request whose head has come who takes its body."""
        self.on_refuse: Callable[[float], None] = lambda _seconds: None  # set by whoever listens
        self._admin = Admin(self._state, self.uploads, self.refuse)

    @property
    def settings(self) -> SimulatorSettings:
        """The switches as they stand."""
        return self._state.settings

    @property
    def generations(self) -> Generations:
        """What was accepted since the last reset."""
        return self._state.generations

    @property
    def traffic(self) -> Traffic:
        """What came since the last reset."""
        return self._state.traffic

    def change(self, settings: SimulatorSettings) -> None:
        """Take these settings from now on; what was accepted ends as it was drawn."""
        self._state.change(settings)

    def refuse(self, seconds: float) -> None:
        """Have connections refused for so long; those that stand get one more answer."""
        self.on_refuse(seconds)

    async def close(self) -> None:
        """Stop what generations are doing."""
        await self._state.close()
        self.uploads.close()

    def handle(self, request: Request) -> Answer | Awaitable[Answer]:
        """Answer one request."""
        path = request.path
        if path == SUBMIT_PATH:
            return self._only("POST", request, self._submissions.handle)
        if path.startswith(TASK_PREFIX):
            return self._only("GET", request, self._queries.handle)
        if is_stream_path(path):
            return self._only("GET", request, self._streams.handle)
        if path == UPLOAD_PATH:
            return self._only("POST", request, self.uploads.handle)
        if path.startswith("/admin/"):
            return self._admin.handle(request)
        return self._read(request)

    def _read(self, request: Request) -> Answer | Awaitable[Answer]:
        path = request.path
        if path.startswith(MEDIA_PREFIX):
            return self._read_only(request, self._media)
        if path.startswith(FILES_PREFIX):
            return self._read_only(request, self.uploads.serve)
        routes: dict[str, Callable[[Request], Answer]] = {
            MODELS_PATH: self._models,
            CREDITS_PATH: self._credits,
            OPENAPI_PATH: lambda _request: as_json(description()),
        }
        return self._only("GET", request, routes[path]) if path in routes else refused(_NO_ROUTE)

    def _only(
        self, method: str, request: Request, route: Callable[[Request], Answer | Awaitable[Answer]]
    ) -> Answer | Awaitable[Answer]:
        return route(request) if request.method == method else refused(_WRONG_METHOD)

    def _read_only(self, request: Request, route: Callable[[Request], Answer]) -> Answer:
        return route(request) if request.method in ("GET", "HEAD") else refused(_WRONG_METHOD)

    def _media(self, request: Request) -> Answer:
        return self._shelf.find(request.path[len(MEDIA_PREFIX) :], request.range) or refused(_NO_ROUTE)

    def _models(self, request: Request) -> Response:
        known = most_videos(self.settings.models)
        models = [{"id": name, "capabilities": ["video", "text"]} for name in known]
        return self._state.locked(request) or as_json({"object": "list", "data": models})

    def _credits(self, request: Request) -> Response:
        locked = self._state.locked(request)
        if locked is not None:
            return locked
        self.generations.now()
        used = self.generations.books.totals.cost
        balance = self.settings.balance
        told = {"credits": None if balance is None else max(0.0, balance - used), "used": used}
        match self.settings.credits_shape:
            case "flat":
                return as_json(told)
            case "nested":
                return as_json({"data": told})
        return refused(_NO_ROUTE)
