"""What may be scheduled."""

import pytest

from pipeline.core.errors import SettingsError, UsageError
from pipeline.core.scheduled import MOST_CHARACTERS, arguments_of, check_name, refuse_secrets


@pytest.mark.parametrize("name", ["nightly", "n", "every-5_minutes", "2026", "a" * 64])
def test_names_are_words(name):
    check_name(name)


@pytest.mark.parametrize("name", ["", "Nightly", "a b", "a/b", "-a", "a-", "a.b", "{date}", "a" * 65, "näch", "a\n"])
def test_other_names_are_refused(name):
    with pytest.raises(SettingsError, match=r"^NAME: found"):
        check_name(name)


def test_a_command_may_be_typed_with_the_programs_name():
    assert arguments_of(("vidbatch", "run", "m.csv")) == arguments_of(("run", "m.csv")) == ("m.csv",)


@pytest.mark.parametrize("words", [(), ("vidbatch",), ("plan", "m.csv"), ("m.csv",)])
def test_other_commands_are_refused(words):
    with pytest.raises(UsageError, match=r"allowed is -- run MANIFEST\.\.\. --out OUT"):
        arguments_of(words)


@pytest.mark.parametrize(
    "argument",
    [
        "redis://:pass@host/0",
        "HTTPS://me@host",
        "see https://me:pw@host/x in it",
        "https://b.example/x.mp4?a=1&X-Goog-Signature=00",
        "https://b.example/x?sig=00",
        "whsec_AAAABBBBCCCC",
    ],
)
def test_secrets_are_refused_and_not_repeated(argument):
    with pytest.raises(SettingsError, match=r"^argument 2 of the scheduled command holds a ") as refused:
        refuse_secrets(["m.csv", argument])
    assert argument not in str(refused.value)


@pytest.mark.parametrize(
    "argument",
    ["s3://bucket/me@home/m.csv", "Who is @ https://host/@me?", "mail me@host.example", "https://host/x?signs=1"],
)
def test_what_only_looks_alike_is_no_secret(argument):
    refuse_secrets([argument], "sk-0123456789")


def test_the_key_itself_is_refused_wherever_it_stands():
    with pytest.raises(SettingsError, match="argument 1 of the scheduled command holds the API key"):
        refuse_secrets(["--prompt=x sk-0123456789"], "sk-0123456789")


def test_a_command_has_its_bounds():
    with pytest.raises(SettingsError, match="longer than 100,000 characters"):
        refuse_secrets(["x" * (MOST_CHARACTERS + 1)])
