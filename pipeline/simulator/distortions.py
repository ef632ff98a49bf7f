"""What a fault makes of a good answer. Pure: an answer and a fault in, what goes over the wire out."""

from dataclasses import replace

from pipeline.simulator.completions import error_body
from pipeline.simulator.faults import Fault
from pipeline.simulator.messages import HTML, JSON, Answer, Cut, Flood, NoAnswer, Response
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.validation import Refusal

_BAD_GATEWAY = 502
_SORRY = b"<html><head><title>Please wait</title></head><body>We are checking your browser.</body></html>\r\n"


def server_error(status: int) -> Response:
    """Return a 5xx: JSON, but for the 502 of a proxy."""
    if status == _BAD_GATEWAY:
        return Response(status, b"<html><head><title>502 Bad Gateway</title></head></html>\r\n", HTML)
    return Response(status, error_body(Refusal(status, "server_error", "The server had an error.")))


def distorted(answer: Response, fault: Fault, settings: SimulatorSettings) -> Answer:
    """Return what a client gets instead of this answer; nothing that lacks a whole answer keeps its receipt."""
    unreceipted = replace(answer, receipt=None)
    match fault:
        case Fault.SUBMIT_CUT | Fault.QUERY_CUT:
            return Cut(unreceipted)
        case Fault.SUBMIT_GARBLED | Fault.QUERY_GARBLED:
            return _garbled(unreceipted, settings.garbled_kind)
        case Fault.SUBMIT_FLOOD | Fault.FLOOD:
            return Flood(answer, settings.flood_bytes)
        case Fault.SUBMIT_SILENCE | Fault.QUERY_SILENCE:
            return NoAnswer.SILENCE
        case Fault.HANGUP_BEFORE | Fault.HANGUP_AFTER:
            return NoAnswer.HANGUP
        case Fault.ERROR_BEFORE | Fault.ERROR_AFTER | Fault.QUERY_ERROR:
            return server_error(settings.error_status)
    return answer


def _garbled(answer: Response, kind: str) -> Response:
    match kind:
        case "html":
            return replace(answer, body=_SORRY, content_type=HTML)
        case "truncated":
            return replace(answer, body=answer.body[: len(answer.body) // 2])
        case "invalid":
            return replace(answer, body=answer.body.replace(b'"', b"'"), content_type=JSON)
    return replace(answer, body=b"")
