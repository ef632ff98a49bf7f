"""Settings: options before the environment before the file, and the key from no file that is committed."""

from datetime import date

import click
import pytest
from click.testing import CliRunner

from pipeline.cli.configuration import ENVIRONMENT, api_key, load
from pipeline.cli.main import COMMANDS, SUMMARIES, main
from pipeline.core.errors import KeyMissing, SettingsError

KEY = "sk-of-a-test-0123456789"


def write(folder, text):
    (folder / "vidbatch.toml").write_text(text, encoding="utf-8")
    return load(folder)


def test_without_a_file_the_shipped_prices_hold(tmp_path):
    settings = load(tmp_path)
    assert settings.option_defaults() == {}
    assert settings.prices["gemini-2.5-pro"]["input"] == 1.25


def test_a_file_gives_defaults_and_prices_of_its_own(tmp_path):
    settings = write(tmp_path, 'model = "m"\nworkers = 2\n[prices.m]\ninput = 1\noutput = 2\n')
    assert settings.option_defaults() == {"model": "m", "workers": 2}
    assert settings.prices["m"]["output"] == 2.0
    assert "gemini-2.5-pro" in settings.prices


def test_every_shipped_price_says_who_told_it_and_when_and_a_written_one_says_where(tmp_path):
    for price in load(tmp_path).prices.values():
        assert price["source"]
        assert date.fromisoformat(price["as_of"])
    written = write(tmp_path, '[prices.m]\ninput = 1\noutput = 2\nas_of = 2026-07-01\nsource = "a contract"\n')
    assert (written.prices["m"]["source"], written.prices["m"]["as_of"]) == ("a contract", "2026-07-01")
    bare = write(tmp_path, "[prices.m]\ninput = 1\noutput = 2\n")
    assert bare.prices["m"] == {"input": 1.0, "output": 2.0, "source": "vidbatch.toml"}


def test_caps_and_a_deadline_may_be_written_down_and_tokens_a_second_are_no_option(tmp_path):
    settings = write(tmp_path, 'max_cost = 5\nmax_total_tokens = 9\nby = "06:00"\ntokens_per_second = 300\n')
    assert settings.option_defaults() == {"max_cost": 5.0, "max_total_tokens": 9, "by": "06:00"}
    assert settings.file.tokens_per_second == 300.0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('api_key = "sk-x"', "api_key: the key is never read from this file"),
        ('colour = "red"', "colour: is no setting; allowed are base_url, "),
        ('workers = "4"', "workers: found '4'; allowed is a valid integer"),
        ("workers = ", "can't be read"),
        ('on_unknown = "guess"', "on_unknown: found 'guess'; allowed is 'resubmit' or 'hold'"),
        ("[prices.m]\ninput = 1\n", "prices.m.output: is missing"),
        (
            "[prices.m]\ninput = -1\noutput = 1\n",
            "prices.m.input: found -1; allowed is a number greater than or equal to 0",
        ),
        ("[prices.m]\ncolour = 1\ninput = 1\noutput = 2\n", "prices.m.colour: is no setting; allowed are input, "),
        ("[prices.m]\ninput = 1\noutput = nan\n", "prices.m.output"),
        ("[prices.m]\ninput = 1\noutput = 1\nas_of = 'spring'\n", "prices.m.as_of"),
        ("tokens_per_second = 0\n", "tokens_per_second"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_key(tmp_path, text, told):
    with pytest.raises(SettingsError) as refused:
        write(tmp_path, text)
    assert "vidbatch.toml" in str(refused.value)
    assert told in str(refused.value)
    assert "sk-x" not in str(refused.value)


def test_the_key_comes_from_the_environment_or_a_file_that_it_names(tmp_path):
    settings = load(tmp_path)
    (tmp_path / "key").write_text(f"{KEY}\n", encoding="utf-8")
    assert api_key(settings, {"VIDBATCH_API_KEY": KEY}).reveal() == KEY
    assert api_key(settings, {"VIDBATCH_API_KEY_FILE": str(tmp_path / "key")}).reveal() == KEY
    with pytest.raises(KeyMissing, match="VIDBATCH_API_KEY"):
        api_key(settings, {})
    with pytest.raises(SettingsError, match="can't be read"):
        api_key(settings, {"VIDBATCH_API_KEY_FILE": str(tmp_path / "absent")})


def test_the_settings_file_may_name_the_keys_file_and_the_environment_comes_first(tmp_path):
    (tmp_path / "key").write_text("sk-of-the-file", encoding="utf-8")
    settings = write(tmp_path, f'api_key_file = "{tmp_path / "key"}"')
    assert api_key(settings, {}).reveal() == "sk-of-the-file"
    assert api_key(settings, {"VIDBATCH_API_KEY": KEY}).reveal() == KEY


@pytest.mark.parametrize(
    ("words", "environment", "wanted"),
    [
        (["--model", "typed"], {"VIDBATCH_MODEL": "told"}, "typed"),
        ([], {"VIDBATCH_MODEL": "told"}, "told"),
        ([], {}, "written"),
    ],
)
def test_options_come_before_the_environment_and_that_before_the_file(
    tmp_path, monkeypatch, words, environment, wanted
):
    write(tmp_path, 'model = "written"')
    (tmp_path / "videos.csv").write_text("video_url,prompt\nhttps://videos.example/1.mp4,Describe.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIDBATCH_MODEL", raising=False)
    planned = CliRunner(env=environment).invoke(main, ["plan", "videos.csv", "--json", *words])
    assert planned.exit_code == 0, planned.output
    assert f'"models":{{"{wanted}":1}}' in planned.output


def test_what_becomes_of_rows_in_doubt_may_be_written_down(tmp_path):
    assert write(tmp_path, 'on_unknown = "hold"').option_defaults() == {"on_unknown": "hold"}
    assert write(tmp_path, "repair = 2").option_defaults() == {"repairs": 2}


def test_help_lists_every_command_without_importing_it():
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    assert set(COMMANDS) == set(SUMMARIES)
    for name in COMMANDS:
        assert name in shown.output


def test_every_variable_that_an_option_reads_is_listed():
    context = click.Context(main)
    read = {
        variable
        for name in COMMANDS
        for option in main.get_command(context, name).params
        for variable in ([option.envvar] if isinstance(option.envvar, str) else option.envvar or [])
    }
    assert read <= set(ENVIRONMENT)
