"""What queries say of ends, in the words of `core.standing`: whoever asks which end of a row holds asks alike."""

UNTOUCHED = "(outcome = 'cancelled' AND generation_id IS NULL AND NOT coalesce(possible_duplicate, false))"
"""A row that was cancelled before anything of it was sent that may have been billed."""

NOT_FOUND = "(outcome = 'unknown' AND generation_id IS NULL)"
"""What a collection found nothing of."""


def tells(*, collects: bool) -> str:
    """Whether an end takes earlier ones' place; of a run that only `collects`, one that found nothing does not."""
    return f"NOT ({UNTOUCHED} OR {NOT_FOUND})" if collects else f"NOT {UNTOUCHED}"
