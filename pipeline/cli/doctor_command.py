"""`vidbatch doctor`."""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

import click
import orjson

from pipeline.cli import api_options, options
from pipeline.cli.configuration import Configuration, known_key
from pipeline.cli.out_option import OUT
from pipeline.core import checkup
from pipeline.core.account import Secret, key_fingerprint
from pipeline.core.checkup import Finding, Level
from pipeline.core.checkup_fleet import of_addresses, of_files, of_fleet, of_schedules, of_spill
from pipeline.core.checkup_redis import of_clocks, of_redis, unreachable
from pipeline.core.costs import Price
from pipeline.core.errors import VidbatchError
from pipeline.core.modes import FOXAPI
from pipeline.core.requests import DEFAULT_MODEL
from pipeline.edges.clock import local_now
from pipeline.edges.disk import free_bytes, may_write
from pipeline.edges.embedded import server_binary, state_folder
from pipeline.edges.environment import process_environment
from pipeline.edges.machine import open_files, versions
from pipeline.edges.places import Place
from pipeline.edges.spill import SpillFolder

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


@click.command(name="doctor")
@api_options.api
@api_options.base_url
@click.option("--model", envvar="VIDBATCH_MODEL", help="The model that is to be asked [default: gemini-2.5-pro].")
@options.redis_url
@click.option("--out", type=OUT, help="Folder of a dataset, whose disk is looked at, too.")
@options.json_output
@click.pass_obj
def command(configuration: Configuration, /, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options
    """Look at all that a run needs: API, key, models, balance, price, Redis, workers, clocks, disk. Send nothing.

    It ends with 1 where something is wrong that would stop a run.
    """
    found: list[Finding] = []
    for finding in _look(configuration, given, process_environment(), local_now().date()):
        found.append(finding)
        if not as_json:
            _say(finding)
    if as_json:
        click.echo(orjson.dumps([asdict(finding) for finding in found]))
    sys.exit(1 if any(finding.level is Level.ERROR for finding in found) else 0)


def _say(finding: Finding) -> None:
    level = click.style(f"{finding.level:7}", fg=_COLOURS[finding.level])
    click.echo(f"{level}  {finding.name}: {finding.found}")
    if finding.todo:
        click.echo(f"         {finding.todo}")


def _look(
    configuration: Configuration, given: Mapping[str, Any], environment: Mapping[str, str], today: date
) -> Iterator[Finding]:
    model = given["model"] or (DEFAULT_MODEL if given["api"] == FOXAPI else None)
    key: Secret | None = None
    try:
        key = known_key(configuration, environment)
    except VidbatchError as error:
        yield checkup.error("key", str(error), checkup.NO_KEY.todo)
    else:
        if key is None:
            yield checkup.NO_KEY
    api_ahead: float | None = None
    if key is not None:
        from pipeline.edges.api_look import looked  # noqa: PLC0415 - who has no key need not wait for the HTTP client

        told = looked(given["api"], given["base_url"], key)
        api_ahead = told.ahead_s
        yield from checkup.of_api(told, given["base_url"], model)
    price = None if model is None else configuration.prices.get(model)
    yield from checkup.of_price(model, None if price is None else Price(**price), today)
    yield from _redis(given["redis_url"], environment, key, api_ahead)
    yield from _machine(given["out"], environment)


def _redis(
    url: str | None, environment: Mapping[str, str], key: Secret | None, api_ahead: float | None
) -> Iterator[Finding]:
    try:
        if url is None:
            yield checkup.ok("Redis", f"a private one is used: {server_binary(environment.get('PATH'))}")
            yield from of_clocks(None, api_ahead)
            return
        yield from asyncio.run(_fleet(url, environment, key, api_ahead))
    except VidbatchError as error:
        yield unreachable(str(error))
    except ValueError:
        yield checkup.error("Redis", "the address is none", "give one such as redis://host:6379/0 with --redis")


async def _fleet(
    url: str, environment: Mapping[str, str], key: Secret | None, api_ahead: float | None
) -> list[Finding]:
    from pipeline.edges.redis_door import RedisDoor  # noqa: PLC0415 - only where a server is named
    from pipeline.edges.redis_facts import facts, fleet, last_firings  # noqa: PLC0415
    from pipeline.edges.redis_schedules import RedisSchedules  # noqa: PLC0415

    door = RedisDoor(url)
    try:
        server = await facts(door, url, environment)
        found = [*of_redis(server), *of_clocks(server.ahead_s, api_ahead)]
        if any(finding.name == "Redis" and finding.level is Level.ERROR for finding in found):
            return found
        found += of_fleet(await fleet(door, "" if key is None else key_fingerprint(key.reveal())))
        if key is not None:
            from pipeline.cli.sealing import unsealed_runs  # noqa: PLC0415

            found += of_addresses(await unsealed_runs(url, key))
        return [*found, *of_schedules(await last_firings(RedisSchedules(door)))]
    finally:
        await door.close()


def _machine(out: Place | None, environment: Mapping[str, str]) -> Iterator[Finding]:
    try:
        state = state_folder(environment)
        yield checkup.of_disk("state folder", str(state), free_bytes(state) or 0)
        spill = SpillFolder(state)
        yield from of_spill(len(spill.names()), str(spill.path))
    except (VidbatchError, OSError) as error:
        yield checkup.error("state folder", str(error), "set VIDBATCH_STATE to a folder that you may write to")
    if out is not None and not may_write(out):
        yield checkup.error("OUT", f"{out}: nothing can be written there", "choose a folder that you may write to")
    elif out is not None and (free := free_bytes(out)) is not None:
        yield checkup.of_disk("OUT", str(out), free)
    yield of_files(open_files())
    yield checkup.ok("versions", versions())
