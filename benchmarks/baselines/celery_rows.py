"""The Celery application of a competent user: one task a row, `self.retry` until its generation ends, JSON lines out.

`celery_run.py` starts it. Settings come from the environment: BROKER, BASE_URL, API_KEY, OUT_FOLDER.
"""

import json
import os
from pathlib import Path
from typing import Any, TextIO

import httpx
from celery import Celery, Task
from celery.signals import worker_process_init

PROMPT = "Describe the video."
MODEL = "gemini-2.5-pro"
POLL_WAITS_S = (1.0, 2.0, 5.0)
"""Waits before each poll; the last one goes on."""
AT_ONCE = bool(os.environ.get("POLL_AT_ONCE"))
"""Whether the POST's own task polls, too: half as many tasks where answers come at once."""
TROUBLE_WAIT_S = 5.0
MOST_RETRIES = 500

app = Celery("rows", broker=os.environ["BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=16,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
)


class Process:
    """What each worker process has for itself: a client, and a file that nobody else writes."""

    client: httpx.Client
    out: TextIO


@worker_process_init.connect
def begin(**_: object) -> None:
    """After the fork: connections must not be shared."""
    headers = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
    Process.client = httpx.Client(base_url=os.environ["BASE_URL"], headers=headers, timeout=60.0)
    path = Path(os.environ["OUT_FOLDER"]) / f"{os.getpid()}.jsonl"
    # line by line: a task is acknowledged when its row is written
    Process.out = path.open("w", encoding="utf-8", buffering=1)


@app.task(bind=True, max_retries=MOST_RETRIES)
def annotate(self: Task, row: dict[str, str], generation: str | None = None, polls: int = 0) -> None:
    """Send the row if it was not yet, else ask once for its generation; what comes later is a retry."""
    try:
        if generation is None:
            body = {"model": MODEL, "prompt": PROMPT, "video_urls": [row["video_url"]]}
            generation = answered(Process.client.post("/v1/llm/generations", json=body))["id"]
            if not AT_ONCE:
                raise self.retry(args=(row, generation, 1), countdown=POLL_WAITS_S[0])
        task = answered(Process.client.get(f"/v1/tasks/{generation}"))
    except (httpx.TransportError, ConnectionRefusedError) as trouble:
        raise self.retry(args=(row, generation, polls), countdown=TROUBLE_WAIT_S, exc=trouble) from trouble
    if task["status"] not in ("completed", "failed"):
        wait_s = POLL_WAITS_S[min(polls, len(POLL_WAITS_S) - 1)]
        raise self.retry(args=(row, generation, polls + 1), countdown=wait_s)
    Process.out.write(line_of(row, task))


def answered(answer: httpx.Response) -> Any:
    """The answer's JSON; ConnectionRefusedError for what may pass."""
    if answer.status_code == 429 or answer.status_code >= 500:
        raise ConnectionRefusedError(f"answered {answer.status_code}")
    return answer.raise_for_status().json()


def line_of(row: dict[str, str], task: dict[str, Any]) -> str:
    """What is kept of a row: its id, how it ended, the answer and what it used."""
    answer = task["results"][0] if task["status"] == "completed" else {}
    kept = {"id": row["id"], "status": task["status"], "generation": task["id"], "error": task.get("error")}
    if answer:
        kept |= {"content": answer["choices"][0]["message"]["content"], "usage": answer["usage"]}
    return json.dumps(kept) + "\n"
