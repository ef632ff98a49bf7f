"""The question before money is spent."""

import sys

import click

from pipeline.core.errors import UsageError


def confirm(requests: int, *, yes: bool) -> bool:
    """Whether to send. UsageError when nobody is there to answer."""
    if yes or requests == 0:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm; add --yes to send without asking")
    return click.confirm(f"Send {requests:,} requests, at your cost?", err=True)
