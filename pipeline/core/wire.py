"""What goes over the wire to FoxAPI besides what is asked: how the answer is to come, and what a model needs.

The body that is planned, hashed and kept in the ledger says neither, so the same question is the same in every mode.
"""

from pipeline.core.models import switches_on
from pipeline.core.policy import ASYNC, STREAM, SYNC, SYNC_STREAM

_FLAGS = {ASYNC: (), SYNC: ("sync",), STREAM: ("stream",), SYNC_STREAM: ("sync", "stream")}


def fox_body(body: bytes, mode: str) -> bytes:
    """The body to send for a planned one, in a mode of `core.policy.MODES`."""
    flags = (*_FLAGS[mode], "reasoning") if switches_on(body) else _FLAGS[mode]
    if not flags:
        return body
    return body[:-1] + b"".join(b',"%b":true' % flag.encode() for flag in flags) + b"}"
