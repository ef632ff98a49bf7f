"""What the doctor makes of what was found."""

from datetime import date

import pytest

from pipeline.core.account_reading import AccountTold, Told
from pipeline.core.checkup import LITTLE_DISK, TOO_LITTLE_DISK, Level, of_api, of_disk, of_price
from pipeline.core.costs import Price

TODAY = date(2026, 11, 28)
LISTED = Told(("gemini-2.5-pro", "other"))
LEFT = Told(5.0)


def levels(findings):
    found = list(findings)
    assert all(finding.todo for finding in found if finding.level is not Level.OK), "what is wrong says what to do"
    return {finding.name: finding.level.value for finding in found}


def api(models=LISTED, balance=LEFT, model="gemini-2.5-pro"):
    return levels(of_api(AccountTold(models, balance), "https://api.example", model))


def test_all_is_well():
    assert api() == {"API": "ok", "key": "ok", "models": "ok", "balance": "ok"}


def test_an_api_that_does_not_answer_is_the_only_thing_to_tell():
    away = Told(trouble="no route", answered=False)
    assert api(away, away) == {"API": "error"}


def test_a_refused_key_is_an_error():
    refused = Told(trouble="HTTP 401: No.", refused=True)
    assert api(refused, refused) == {"API": "ok", "key": "error"}


def test_a_model_that_is_not_there_is_a_warning():
    assert api(model="gemini-9")["models"] == "warning"
    assert api(model=None)["models"] == "warning"


def test_what_the_api_does_not_tell_is_no_error():
    untold = Told(trouble="HTTP 404: No.")
    assert api(untold, untold) == {"API": "ok", "key": "warning", "models": "warning", "balance": "warning"}
    assert "balance" not in api(balance=None)
    key = next(one for one in of_api(AccountTold(untold, untold), "https://api.example", None) if one.name == "key")
    assert "--base-url is right" in key.todo


@pytest.mark.parametrize("left", [0.0, -3.0])
def test_an_empty_balance_is_an_error(left):
    assert api(balance=Told(left))["balance"] == "error"


def test_a_price_is_there_and_not_old():
    assert levels(of_price("m", Price(1.0, 2.0, as_of="2026-11-01"), TODAY)) == {"price": "ok"}
    assert levels(of_price("m", Price(1.0, 2.0, as_of="2020-11-01"), TODAY)) == {"price": "warning"}
    assert levels(of_price("m", None, TODAY)) == {"price": "warning"}
    assert levels(of_price(None, None, TODAY)) == {}


def test_a_full_disk_is_an_error_and_a_small_one_a_warning():
    free = (TOO_LITTLE_DISK - 1, TOO_LITTLE_DISK, LITTLE_DISK)
    assert [of_disk("state folder", "/x", bytes_).level.value for bytes_ in free] == ["error", "warning", "ok"]
