"""`vidbatch simulate`: every switch of the simulator is an option, taken from its own list."""

from typing import Any

import click

from pipeline.simulator.server import run
from pipeline.simulator.settings import OPTIONS, Option, SimulatorSettings, changed

DEFAULT_PORT = "8080"


def _as_click(option: Option) -> click.Option:
    name = option.name.replace("_", "-")
    if option.is_switch:
        return click.Option([f"--{name}/--no-{name}"], default=None, help=option.help)
    return click.Option([f"--{name}"], help=option.help)


def _simulate(**given: Any) -> None:  # noqa: ANN401 - click's options
    """Serve a FoxAPI on this machine: same paths, errors and timing, its own bill, real facts of real videos."""
    changes = {name: value for name, value in given.items() if value is not None}
    run(
        changed(SimulatorSettings(), {"port": DEFAULT_PORT, **changes}),
        lambda url: click.echo(f"simulator ready {url}"),
    )


command = click.Command("simulate", callback=_simulate, params=[_as_click(option) for option in OPTIONS])
command.help = _simulate.__doc__
