"""`python -m workers.health [PORT/PATH]`: whether this container's worker is alive, or its server answers; 0 or 1.

It loads next to nothing, since every container runs it some times a minute.
"""

import socket
import sys
from pathlib import Path

from pipeline.edges.alive import HEALTH_FILE, looks_alive
from pipeline.edges.environment import process_environment

WAITS_S = 4.0


def main(arguments: list[str]) -> int:
    """Look once, and say what is wrong."""
    wrong = _asked(arguments[0]) if arguments else _registered()
    if wrong:
        sys.stderr.write(f"{wrong}\n")
    return 1 if wrong else 0


def _registered() -> str:
    path = process_environment().get(HEALTH_FILE)
    return looks_alive(Path(path)) if path else f"{HEALTH_FILE} is not set, so no worker says that it is alive"


def _asked(address: str) -> str:
    """Why a server of this container does not answer as it should; nothing when it does."""
    port, _, path = address.partition("/")
    try:
        with socket.create_connection(("127.0.0.1", int(port)), WAITS_S) as connection:
            connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            status = connection.makefile("rb").readline().split()
    except (OSError, ValueError) as error:
        return f"port {port} does not answer: {error}"
    return "" if status[1:2] == [b"200"] else f"port {port} answers {b' '.join(status).decode(errors='replace')!r}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
