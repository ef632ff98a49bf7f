"""What somebody who may write to the queues can do with it: nothing but a line in the log."""

import base64
import os
import subprocess
import sys

import orjson
import pytest
import redis
import yaml

QUEUE = "vidbatch:celery:4:submit"


def message(task, body, *, kind="application/json", encoding="utf-8"):
    return orjson.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": encoding,
            "content-type": kind,
            "headers": {
                "lang": "py",
                "task": task,
                "id": f"id-{task}",
                "root_id": "r",
                "parent_id": None,
                "group": None,
            },
            "properties": {
                "correlation_id": "c",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "submit"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": f"tag-{task}-{kind}",
            },
        }
    )


@pytest.mark.slow
def test_only_json_and_only_our_tasks_are_taken_and_odd_tickets_do_nothing(redis_url, state, tmp_path, faults):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIDBATCH_")}
    told = {**kept, "VIDBATCH_STATE": str(state), "VIDBATCH_REDIS": redis_url, "VIDBATCH_API_KEY": "sk-0123456789"}
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen([sys.executable, "-m", "workers"], env=told, stdout=output, stderr=output)
    try:
        with redis.Redis.from_url(redis_url) as client:
            faults.eventually(lambda: client.keys("vidbatch:worker:*"), "the worker registers")
            made = tmp_path / "owned"
            arguments = b"cos\nmkdir\n(V" + str(made).encode() + b"\ntR."  # a pickle that makes a folder
            client.lpush(
                QUEUE, message("vidbatch.submit", arguments, kind="application/x-python-serialize", encoding="binary")
            )
            unsafe = f"!!python/object/apply:os.mkdir ['{made}']"
            client.lpush(QUEUE, message("vidbatch.submit", unsafe.encode(), kind="application/x-yaml"))
            assert yaml.safe_load("a") == "a", "the worker could load it, if it were let"
            embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
            client.lpush(QUEUE, message("os.mkdir", orjson.dumps([[str(made)], {}, embed])))
            odd = [[], ["../../etc"], ["*"], [{"a": 1}], ["r" * 100_000], [None], ["a", "b", "c"], ["\u0000\u001b[2J"]]
            for arguments in odd:
                client.lpush(QUEUE, message("vidbatch.submit", orjson.dumps([arguments, {}, embed])))
            faults.eventually(lambda: not client.llen(QUEUE), "the queue is drained", within_s=60)
            faults.eventually(lambda: "os.mkdir" in log.read_text(), "the unknown task is told")
            assert worker.poll() is None, log.read_text()
            assert client.keys("vidbatch:worker:*"), "it is at work as ever"
            assert not made.exists()
            assert not [name for name in client.keys("vidbatch:run:*") if b"etc" in name]
    finally:
        worker.terminate()
        worker.wait(40)
    assert worker.returncode == 0, log.read_text()
