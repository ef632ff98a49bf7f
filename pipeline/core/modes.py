"""Which modes an API has: how its answers may come."""

from collections.abc import Mapping
from types import MappingProxyType

from pipeline.core.errors import SettingsError
from pipeline.core.policy import ASYNC, STREAM, SYNC, SYNC_STREAM

FOXAPI, OPENAI = APIS = ("foxapi", "openai")

MODES_OF_API: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        FOXAPI: {mode: mode for mode in (ASYNC, SYNC, STREAM, SYNC_STREAM)},
        OPENAI: {SYNC: SYNC, STREAM: SYNC_STREAM},
    }
)
"""What may be typed for each API, its default first, and the mode that it is: an OpenAI stream comes on the POST."""


def mode_for(api: str, typed: str | None) -> str:
    """The mode of a run, by what was typed. SettingsError for one that the API does not have."""
    modes = MODES_OF_API[api]
    if typed is None:
        return next(iter(modes.values()))
    if typed not in modes:
        raise SettingsError(f"--mode: found {typed}; allowed with --api {api} are {', '.join(modes)}")
    return modes[typed]
