"""What a plan says of its models, and of the account that pays for them."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.models import TIGHT_CAP
from pipeline.core.modes import FOXAPI


def thinking_lines(described: Mapping[str, Any]) -> Iterator[str]:
    """What is done about models that think, and what their rows should be asked otherwise."""
    thinking = described.get("thinking") or {}
    if described.get("api", FOXAPI) == FOXAPI:
        for model, rows in thinking.get("on", {}).items():
            yield f"reasoning: on for {_rows(rows)} of {model}, which may need it; --no-reasoning turns it off"
        for model, rows in thinking.get("off", {}).items():
            yield f"warning: {_rows(rows)} of {model} turn reasoning off, and the API may refuse that"
    for model, rows in thinking.get("tight", {}).items():
        yield (
            f"warning: {_rows(rows)} of {model} have a max_tokens below {TIGHT_CAP:,}, and its thoughts count: "
            "an answer may be cut before its first word"
        )


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
