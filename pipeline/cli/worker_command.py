"""`vidbatch worker`."""

import os

import click

from pipeline.cli import log_options, media_options, options
from pipeline.cli.configuration import Configuration
from pipeline.core.errors import SettingsError
from pipeline.edges.environment import KEY, KEY_COMMAND, KEY_FILE, become_worker, process_environment


@click.command(name="worker")
@options.redis_url
@click.option(
    "--roles",
    envvar="VIDBATCH_ROLES",
    default="submit,poll,write,control",
    show_default=True,
    help="What this worker does, and how many shifts of it at a time, such as submit=4,poll=2,write,control; write and "
    "control need the runs' OUT, submit and poll the API key.",
)
@click.option(
    "--workers",
    envvar="VIDBATCH_WORKERS",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Submit shifts, and poll shifts, at a time, where --roles gives no number; the others have one.",
)
@media_options.worker_root
@log_options.form
@log_options.level
@click.pass_obj
def command(
    configuration: Configuration,
    redis_url: str | None,
    roles: str,
    workers: int,
    media_root: tuple[str, ...],
    log_format: str,
    log_level: str,
) -> None:
    """Serve runs that were handed to a Redis server, until SIGTERM; then finish what is in hand."""
    if not redis_url:
        raise SettingsError("--redis: a worker needs the Redis server of the fleet, such as redis://host:6379/0")
    environment = dict(process_environment())
    if configuration.file.api_key_file and not any(environment.get(name) for name in (KEY, KEY_COMMAND)):
        environment.setdefault(KEY_FILE, configuration.file.api_key_file)
    environment |= {"VIDBATCH_REDIS": redis_url, "VIDBATCH_ROLES": roles, "VIDBATCH_WORKERS": str(workers)}
    environment |= {"VIDBATCH_LOG_FORMAT": log_format, "VIDBATCH_LOG_LEVEL": log_level}
    environment["VIDBATCH_MEDIA_ROOT"] = os.pathsep.join(media_root)
    become_worker(environment)
