"""Judges answers: what one is worth, and its value in the shape of its schema.

A judgement is a function of the answer alone, and there is one for any text: what can't be read, or held, is told and
never raised. The text itself is kept by whoever asks, whatever is found of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.core.answer_text import Piece, pieces
from pipeline.core.answering import AnswerStatus, Verdict
from pipeline.core.answers import Completion
from pipeline.core.fitting import Fit, UnheldError, fit_of, json_path
from pipeline.core.shapes import Shape

Steps = Sequence[str | int]
Check = Callable[[Any], tuple[Steps, str] | None]
"""Holds a value against a schema: nothing where it fits, else the first place that does not, and why."""

LONGEST_REASON = 300
LONGEST_ANSWER = 2 * 1024 * 1024
"""Characters of an answer that is read as JSON: far more than any model says; a flood is kept, and not taken apart."""

_CUT = "length"
_FILTERED = "content_filter"


class Judging:
    """Judges answers against a schema, or, without one, tells whether there is an answer at all. A `Judge`."""

    def __init__(self, check: Check | None = None, shape: Shape | None = None) -> None:
        self._check = check
        self._fit = None if shape is None else fit_of(shape)

    def __call__(self, completion: Completion) -> Verdict:
        """What one answer is worth."""
        return self.of(completion.content, completion.finish_reason, completion.refusal)

    def of(self, content: str | None, finish_reason: str | None, refusal: str | None) -> Verdict:
        """The same, of what tells it; there is a `refusal` where the model said that it won't answer."""
        if refusal or finish_reason == _FILTERED:
            return Verdict(AnswerStatus.REFUSED, error=_cut(refusal or f"finish_reason {_FILTERED}"))
        if content is None or not content.strip():
            # a model that used up its tokens on thinking was cut, too: it needs more of them
            return _CUT_SHORT if finish_reason == _CUT else Verdict(AnswerStatus.EMPTY)
        if self._check is None or self._fit is None:
            return _CUT_SHORT if finish_reason == _CUT else _OK
        found = self._read(content, self._check, self._fit, cut=finish_reason == _CUT)
        return _CUT_SHORT if finish_reason == _CUT and found.status is not AnswerStatus.OK else found

    def columns(self, completions: Sequence[Mapping[str, Any] | None]) -> dict[str, Sequence[object]]:
        """The columns that judging fills, for answers as the ledger packs them; nothing where there is none."""
        judged = self.of
        found = [
            _NOTHING if one is None else judged(one.get("content"), one.get("finish_reason"), one.get("refusal"))
            for one in completions
        ]
        columns: dict[str, Sequence[object]] = {
            "answer_status": [one.status if one is not _NOTHING else None for one in found],
            "answer_error": [one.error for one in found],
        }
        return columns if self._check is None else {**columns, "answer": [one.value for one in found]}

    def _read(self, content: str, check: Check, fit: Fit, *, cut: bool) -> Verdict:
        """The first valid piece, or what is wrong with the one that tells most."""
        if len(content) > LONGEST_ANSWER:
            return _invalid((), f"an answer of {len(content):,} characters is not read; at most {LONGEST_ANSWER:,} are")
        worst: tuple[Piece, Verdict] | None = None
        for group in pieces(content, cut=cut):
            for piece in group:
                verdict = _judged(piece, check, fit)
                if verdict.status is AnswerStatus.OK:
                    return verdict
                if worst is None or _tells_more(piece, worst[0]):
                    worst = piece, verdict
        return worst[1] if worst is not None else _invalid((), "found no JSON")


def _judged(piece: Piece, check: Check, fit: Fit) -> Verdict:
    if piece.flaw is not None:
        return _invalid((), f"found no valid JSON: {piece.flaw}")
    wrong = check(piece.value)
    if wrong is not None:
        return _invalid(*wrong)
    try:
        return Verdict(AnswerStatus.OK, fit(piece.value))
    except UnheldError as error:
        return _invalid(error.steps[::-1], error.reason)


def _tells_more(piece: Piece, other: Piece) -> bool:
    """What could be read tells more of an answer than what could not; then the longer one, or the later look."""
    if (piece.flaw is None) != (other.flaw is None):
        return piece.flaw is None
    return piece.flaw is not None or piece.length > other.length


def _invalid(steps: Steps, reason: str) -> Verdict:
    return Verdict(AnswerStatus.INVALID, error=f"{json_path(steps)}: {_cut(reason)}")


def _cut(text: str) -> str:
    plain = " ".join(text[: 4 * LONGEST_REASON].split()).encode("utf-8", "replace").decode()
    return plain if len(plain) <= LONGEST_REASON else f"{plain[:LONGEST_REASON]}…"


_OK = Verdict(AnswerStatus.OK)
_NOTHING = Verdict(AnswerStatus.EMPTY)
_CUT_SHORT = Verdict(AnswerStatus.TRUNCATED, error=f"finish_reason {_CUT}")
