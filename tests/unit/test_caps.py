"""The caps of a run as they are typed, kept and lifted."""

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import limit_options, options
from pipeline.core.budget import Budget
from pipeline.core.errors import SettingsError
from pipeline.core.limits import Limits
from pipeline.edges.run_folder import LocalRunFolder


@click.command()
@options.max_cost
@options.max_total_tokens
def capped(**given):
    click.echo(repr(options.budget_of(given, Budget(cost=5.0, tokens=70))))


def typed(*arguments):
    result = CliRunner().invoke(capped, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output.strip()


@pytest.mark.parametrize(
    ("arguments", "budget"),
    [
        ((), Budget(5.0, 70)),
        (("--max-cost", "20"), Budget(20.0, 70)),
        (("--max-cost", "none"), Budget(None, 70)),
        (("--max-cost", "none", "--max-total-tokens", "none"), Budget()),
        (("--max-total-tokens", "1000000"), Budget(5.0, 1_000_000)),
    ],
)
def test_a_cap_that_is_not_typed_stays_and_none_lifts_it(arguments, budget):
    assert typed(*arguments) == repr(budget)


@pytest.mark.parametrize("cost", ["0", "-1", "nan", "inf", "1e308", "1e10", "five", ""])
def test_a_cap_that_could_not_be_kept_is_refused(cost):
    with pytest.raises(SettingsError, match=r"^--max-cost: found .*allowed is an amount above 0"):
        typed("--max-cost", cost)


@pytest.mark.parametrize("tokens", ["0", "1.5", "1e6", "100000000000000000000"])
def test_a_cap_on_tokens_is_a_whole_number_that_can_be_counted(tokens):
    with pytest.raises(SettingsError, match=r"^--max-total-tokens: found .*allowed is a whole number"):
        typed("--max-total-tokens", tokens)


@click.command()
def paced(**given):
    click.echo(repr(limit_options.limits_of(given)))


for _option in limit_options.CHANGING:
    paced = _option(paced)


@pytest.mark.parametrize(
    "arguments",
    [("--rpm", "5e-324"), ("--rpm", "nan"), ("--tpm", "1e308"), ("--max-in-flight", "100000000000000000000")],
)
def test_a_limit_that_nothing_could_be_reckoned_with_is_refused(arguments):
    result = CliRunner().invoke(paced, arguments)
    assert isinstance(result.exception, SettingsError)
    assert arguments[0] in str(result.exception)


def test_limits_are_read():
    result = CliRunner().invoke(paced, ["--rpm", "600", "--max-in-flight", "50", "--tpm", "auto"])
    assert result.output.strip() == repr(Limits(rpm=600.0, max_in_flight=50))


def test_the_caps_of_a_run_are_on_disk_whatever_becomes_of_its_ledger(tmp_path):
    folder = LocalRunFolder(tmp_path, "run-1")
    folder.path.mkdir(parents=True)
    assert folder.budget == Budget()
    folder.cap(Budget(cost=2.5))
    assert LocalRunFolder(tmp_path, "run-1").budget == Budget(cost=2.5)
    folder.cap(Budget())
    assert folder.budget == Budget()
