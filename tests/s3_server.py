"""An S3-compatible server as a process of its own: prints its port, counts requests, and fails some if it is told to.

    python tests/s3_server.py

`GET /-/counts` says how many requests of which kind came since the last time; `/-/fail?method=PUT&every=3&status=503`
lets every third PUT fail, and `every=0` none; `/-/buckets/<name>` makes a bucket.
"""

import json
import logging
import sys
from collections import Counter
from threading import Lock
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import Client

FAULT = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>told to fail</Message></Error>"
CODES = {500: (b"InternalError", "500 Internal Server Error"), 503: (b"SlowDown", "503 Slow Down")}


class Store:
    """The server's application, with what is counted and what is to fail."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._method, self._every, self._status, self._seen = "", 0, 503, 0

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path.startswith("/-/"):
            told = self._told(path.removeprefix("/-/"), parse_qs(environ["QUERY_STRING"]))
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(told).encode()]
        if self._fails(environ):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            code, line = CODES[self._status]
            told = b"" if environ["REQUEST_METHOD"] == "HEAD" else FAULT % code
            start_response(line, [("Content-Type", "application/xml"), ("Content-Length", str(len(told)))])
            return [told]
        return self._app(environ, start_response)

    def _fails(self, environ) -> bool:
        method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        listing = method == "GET" and "list-type" in query
        with self._lock:
            self._counts["LIST" if listing else "BULK DELETE" if "delete" in query else method] += 1
            if not self._every or self._method not in {"*", method}:
                return False
            self._seen += 1
            failed = self._seen % self._every == 0
            self._counts["failed"] += failed
            return failed

    def _told(self, command: str, query) -> object:
        with self._lock:
            if command == "counts":
                counts, self._counts = dict(self._counts), Counter()
                return counts
            if command == "fail":
                self._method, self._seen = query["method"][0], 0
                self._every, self._status = int(query["every"][0]), int(query.get("status", ["503"])[0])
                return {}
        name = command.removeprefix("buckets/")
        made = Client(self._app).put(f"/{name}", headers={"Host": "s3.amazonaws.com"})
        return {"status": made.status_code}


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, Store(), threaded=True)
    sys.stdout.write(f"ready {server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
