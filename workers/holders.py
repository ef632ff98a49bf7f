"""What a process is called in tokens, shifts and files: a name that nobody had before, and nobody will have again.

A container that is started again has the host name and the process ids of the one before; under the same name it would
give back, or renew, what is not its own.
"""

import os
import re
from uuid import uuid4

_UNFIT = re.compile(r"[^A-Za-z0-9_.@-]")
"""Tokens are put together with ':' and '|', and names stand in files' names."""


def unique_name(base: str) -> str:
    """`<base>-<8 hex digits>-<process id>`: made once per process, after the fork."""
    return f"{_UNFIT.sub('_', base)}-{uuid4().hex[:8]}-{os.getpid()}"
