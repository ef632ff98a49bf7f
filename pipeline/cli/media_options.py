"""Options on videos: which files may be read, how they are sent, and whether they are looked at first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from pipeline.core.errors import SettingsError
from pipeline.core.policy import MOST_INLINE
from pipeline.edges.media_files import real_roots

LONGEST_S: Final = 1e6


def _roots(context: click.Context, parameter: click.Parameter, value: tuple[Path, ...]) -> tuple[str, ...]:
    """Real paths, so that a link that is changed later changes nothing."""
    del context
    return real_roots(value, parameter.opts[0])


def _duration(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not context.params.get("preflight"):
        raise SettingsError(f"{parameter.opts[0]}: found without --preflight, which looks at videos; give both")
    if value is not None and not 0 < value <= LONGEST_S:
        raise SettingsError(
            f"{parameter.opts[0]}: found {value:g}; allowed are seconds above 0, up to {LONGEST_S:,.0f}"
        )
    return value


_ROOT: Final = ("--media-root", "media_root")
_ROOTS: Final[Mapping[str, Any]] = {
    "multiple": True,
    "envvar": "VIDBATCH_MEDIA_ROOT",
    "type": click.Path(path_type=Path),
    "callback": _roots,
    "metavar": "DIR",
}
media_root = click.option(
    *_ROOT,
    **_ROOTS,
    help="Folder whose video files may be read and sent; more than one may be given. Without it a row that names a "
    "file is rejected.",
)
worker_root = click.option(
    *_ROOT,
    **_ROOTS,
    help="Folder whose video files this worker may read and send, as the runs' commands name it; more than one may be "
    "given. A worker that may not read all folders of a run sends none of its rows.",
)
preflight = click.option(
    "--preflight",
    is_flag=True,
    is_eager=True,  # known before --max-duration, wherever it stands
    help="Look at each video right before its row is sent: one that is gone, whose signed URL has expired, or that is "
    "no video, ends its row as refused, for nothing. What can't be told is sent.",
)
planned_preflight = click.option(
    "--preflight",
    is_flag=True,
    is_eager=True,  # known before --max-duration, wherever it stands
    help="Look at each video of the plan once, without sending anything: which are gone, have a signed URL that has "
    "expired, or are no videos. It ends with 1 where some are.",
)
max_duration = click.option(
    "--max-duration",
    type=float,
    callback=_duration,
    metavar="SECONDS",
    help="Only with --preflight: refuse videos whose header tells that they are longer.",
)
SENDING = (
    media_root,
    click.option(
        "--inline-limit",
        type=click.IntRange(0, MOST_INLINE),
        default=MOST_INLINE,
        show_default=True,
        metavar="BYTES",
        help="Files of a row, all together, that are sent within its request; larger ones are uploaded first.",
    ),
    click.option("--upload", is_flag=True, help="Upload files, however small they are."),
    preflight,
    max_duration,
)


def policy_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What workers are told of it."""
    return {
        "inline_limit": given["inline_limit"],
        "upload": given["upload"],
        "preflight": given["preflight"],
        "max_duration_s": given["max_duration"] or 0.0,
    }
