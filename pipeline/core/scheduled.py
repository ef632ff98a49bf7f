"""What may be scheduled: names, and commands that hold no secret and nothing that the scheduler gives itself."""

import re
from collections.abc import Mapping, Sequence

from pipeline.core.errors import SettingsError, UsageError

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
NAME_ALLOWED = "1 to 64 of a-z, 0-9, - and _, the first and last of them a letter or digit"

REFUSED: Mapping[str, str] = {
    "redis_url": "the command is given by a control worker, which hands the run to the Redis that it serves",
    "yes": "it is added: nobody is there to be asked",
    "detach": "it is added: the run is handed to the fleet",
    "as_json": "it is added: `vidbatch schedule history --json` tells how it ended",
    "workers": "it is about a private worker, and the fleet serves",
    "by": "nobody is there to be told; `vidbatch watch RUN --by` tells it of the run",
}
"""Options of `run` that a scheduled one may not have, by the names of their values, and why."""

FIRING = "VIDBATCH_FIRING"
"""How a command is told which firing gives it: given again, it goes on with that one's run, and begins no other."""

MOST_CHARACTERS = 100_000
"""Of a command: it is kept in Redis, and read with each look at the schedules."""

_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#]*@", re.IGNORECASE)
_SIGNED = re.compile(r"[?&](?:X-Amz-(?:Signature|Security-Token)|X-Goog-Signature|Signature|sig|token)=", re.IGNORECASE)
_SECRET = re.compile(r"\bwhsec_[A-Za-z0-9+/=]{8}")


def check_name(name: str) -> None:
    """SettingsError for what is no name of a schedule: it becomes part of keys, paths and messages."""
    if not _NAME.fullmatch(name):
        raise SettingsError(f"NAME: found {name[:80]!r}; allowed are {NAME_ALLOWED}")


def arguments_of(words: Sequence[str]) -> tuple[str, ...]:
    """The arguments of `vidbatch run`, of what was typed after `--`. UsageError for another command."""
    words = words[1:] if words and words[0] == "vidbatch" else words
    if not words or words[0] != "run":
        found = f"found {words[0]!r}" if words else "found nothing"
        raise UsageError(f"what is scheduled comes after `--`: {found}; allowed is -- run MANIFEST... --out OUT ...")
    return tuple(words[1:])


def refuse_secrets(arguments: Sequence[str], key: str | None = None) -> None:
    """SettingsError where an argument holds what must not be kept in Redis. It names the place, and not the text."""
    if sum(map(len, arguments)) > MOST_CHARACTERS:
        raise SettingsError(
            f"the scheduled command is longer than {MOST_CHARACTERS:,} characters: put texts into files"
        )
    for place, argument in enumerate(arguments, 1):
        if (kind := _kind_of_secret(argument, key)) is not None:
            raise SettingsError(
                f"argument {place} of the scheduled command holds {kind}, and schedules are kept in Redis, where no "
                "secret may be: the control workers have theirs in their environment or in files"
            )


def _kind_of_secret(argument: str, key: str | None) -> str | None:
    if key and key in argument:
        return "the API key"
    if _PASSWORD.search(argument):
        return "a URL with a user or a password"
    if _SIGNED.search(argument):
        return "a URL with a signature or a token"
    if _SECRET.search(argument):
        return "a webhook's secret"
    return None
