"""The task as it goes out: with credits where they are reported, and with the address of its stream."""

from typing import Any

from pipeline.simulator.messages import Request, Response
from pipeline.simulator.state import State, as_json

SUBMIT_PATH = "/v1/llm/generations"
STREAM_SUFFIX = "/stream"


def told_task(state: State, task: dict[str, Any], request: Request) -> Response:
    """Return the answer that tells this task; `stream` is set where its generation has one."""
    if state.settings.credits_reported:
        task["usage"] = {"credits_reserved": 1.0, "user_group": "default"}
    if task["stream"]:
        path = f"{SUBMIT_PATH}/{task['id']}{STREAM_SUFFIX}"
        task["stream"] = {"url": f"http://{request.host}{path}" if state.settings.stream_url_absolute else path}
    return as_json(task)
