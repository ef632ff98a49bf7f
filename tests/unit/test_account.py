"""The key can't slip out, and an account has one name."""

import copy
import dataclasses

import pytest

from pipeline.core.account import Secret, account_id, key_fingerprint
from pipeline.core.errors import KeyMissing, SettingsError

KEY = "sk-0123456789abcdef"


def test_a_secret_shows_a_mask_however_it_is_printed():
    secret = Secret(KEY)
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>30}", f"{secret!r}", f"{[secret]}"):
        assert KEY not in shown
        assert "[key]" in shown
    assert secret.reveal() == KEY


def test_a_secret_is_never_pickled_copied_or_taken_apart():
    for take in (copy.copy, copy.deepcopy, lambda secret: secret.__reduce_ex__(5)):  # the last is what pickle calls
        with pytest.raises(TypeError):
            take(Secret(KEY))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Secret(KEY)._value = "other"


def test_secrets_are_equal_by_value():
    assert Secret(KEY) == Secret(KEY)
    assert Secret(KEY) != Secret(KEY + "0")


@pytest.mark.parametrize("key", ["sk-1\n", "sk 1", "sk-é", "sk-\x00", "sk-1\r\nx-evil: 1"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key):
    with pytest.raises(SettingsError) as caught:
        Secret(key)
    assert key not in str(caught.value)


def test_an_empty_key_is_a_missing_key():
    with pytest.raises(KeyMissing):
        Secret("")


def test_a_fingerprint_is_short_steady_and_not_the_plain_hash():
    fingerprint = key_fingerprint(KEY)
    assert fingerprint == key_fingerprint(KEY) != key_fingerprint(KEY + "0")
    assert len(fingerprint) == 12
    assert set(fingerprint) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "spelling",
    ["https://api.example", "https://API.example/", "https://api.example:443", " https://u:p@api.example/ "],
)
def test_spellings_of_one_base_url_are_one_account(spelling):
    assert account_id(spelling, "0123456789ab") == "api.example#0123456789ab"


def test_other_hosts_ports_paths_and_keys_are_other_accounts():
    names = {
        account_id(url, fingerprint)
        for url in ("https://a.example", "https://b.example", "https://a.example:8443", "https://a.example/eu")
        for fingerprint in ("0123456789ab", "ba9876543210")
    }
    assert len(names) == 8
