"""Where Redis is and who asks there: what may be written, and that no message quotes a password."""

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.redis_address import parse_address
from pipeline.edges.redis_place import redis_place
from workers.settings import broker_settings, settings_from

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "shown", "user", "password", "database"),
    [
        ("redis://host", "redis://host:6379/0", "", "", 0),
        ("redis://host:7000/3", "redis://host:7000/3", "", "", 3),
        ("redis://:s3cret@host/1", "redis://host:6379/1", "", "s3cret", 1),
        ("rediss://bob:p%40ss%2Fw@host:7000", "rediss://host:7000/0", "bob", "p@ss/w", 0),
        ("redis://bob@[::1]:7000/0", "redis://[::1]:7000/0", "bob", "", 0),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock", "", "", 2),
        ("unix://:s3cret@/run/redis.sock", "unix:///run/redis.sock", "", "s3cret", 0),
    ],
)
def test_an_address_is_taken_apart_and_shown_without_user_and_password(url, shown, user, password, database):
    address = parse_address(url)
    assert (address.shown, address.user, address.password, address.database) == (shown, user, password, database)
    assert "s3cret" not in repr(address)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"http://:{SECRET}@host", "allowed are redis://"),
        (f"redis:{SECRET}", "allowed are redis://"),
        (f":{SECRET}@host:6379", "allowed are redis://"),
        (f"redis://:{SECRET}/more@host:6379", "%2F"),
        (f"redis://:{SECRET}?more@host:6379", "%3F"),
        (f"redis://:{SECRET}#more@host:6379", "%23"),
        (f"redis://host:{SECRET}", "the port is none"),
        ("redis://host:0", "the port is 0"),
        (f"redis://:{SECRET}@", "the host is missing"),
        (f"redis://host/{SECRET}", "the database"),
        (f"redis://host/0?password={SECRET}", "only db is allowed"),
        ("rediss://host?ssl_cert_reqs=none", "only db is allowed"),
        (f"unix://{SECRET}", "no host"),
    ],
)
def test_what_can_not_be_used_is_refused_in_words_that_hold_nothing_of_it(url, told):
    with pytest.raises(SettingsError) as refused:
        parse_address(url, "VIDBATCH_REDIS")
    assert told in str(refused.value)
    assert str(refused.value).startswith("VIDBATCH_REDIS: ")
    assert SECRET not in str(refused.value)


@pytest.fixture
def files(tmp_path):
    for name in ("password", "ca", "cert", "key"):
        (tmp_path / name).write_text(f"{SECRET}\n")
    (tmp_path / "empty").write_text("\n")
    return tmp_path


def test_password_and_certificates_come_from_files(files):
    told = {
        "VIDBATCH_REDIS_USER": "bob",
        "VIDBATCH_REDIS_PASSWORD_FILE": str(files / "password"),
        "VIDBATCH_REDIS_PASSWORD": "of the environment",
        **{f"VIDBATCH_REDIS_{name.upper()}_FILE": str(files / name) for name in ("ca", "cert", "key")},
    }
    place = redis_place("rediss://host:7000/2", told)
    client = place.client_settings()
    assert (client["username"], client["password"], client["db"], client["port"]) == ("bob", SECRET, 2, 7000)
    assert (client["ssl_ca_certs"], client["ssl_keyfile"]) == (str(files / "ca"), str(files / "key"))
    assert (client["ssl_cert_reqs"], client["ssl_check_hostname"]) == ("required", True)
    assert SECRET not in repr(place)
    broker = broker_settings(place)
    assert (broker["broker_url"], broker["broker_user"], broker["broker_password"]) == (
        "rediss://host:7000/2",
        "bob",
        SECRET,
    )
    assert broker["broker_use_ssl"] == place.tls()


def test_without_tls_the_broker_is_told_of_none():
    assert broker_settings(redis_place("redis://host", {})) == {
        "broker_url": "redis://host:6379/0",
        "broker_user": "",
        "broker_password": "",
    }


def test_what_guards_a_server_is_not_told_to_a_socket():
    told = {"VIDBATCH_REDIS_PASSWORD": SECRET, "VIDBATCH_REDIS_CA_FILE": "/nowhere"}
    place = redis_place("unix:///run/s", told)
    assert place.client_settings() == {"path": "/run/s", "db": 0}
    assert broker_settings(place) == {"broker_url": "redis+socket:///run/s?virtual_host=0"}


@pytest.mark.parametrize(
    ("url", "told", "says"),
    [
        ("redis://host", {"PASSWORD_FILE": "absent"}, "can't be read: No such file"),
        ("redis://host", {"PASSWORD_FILE": "empty"}, "is empty"),
        ("redis://:other@host", {"PASSWORD_FILE": "password"}, "another password than VIDBATCH_REDIS_PASSWORD_FILE"),
        ("redis://host", {"USER": "bob"}, "a user and no password"),
        ("redis://host", {"CA_FILE": "ca"}, "where no TLS is spoken: write rediss://"),
        ("rediss://host", {"CA_FILE": "absent"}, "VIDBATCH_REDIS_CA_FILE: "),
        ("rediss://host", {"CERT_FILE": "cert"}, "VIDBATCH_REDIS_KEY_FILE is missing"),
    ],
)
def test_settings_that_do_not_fit_are_named(files, url, told, says):
    environment = {
        f"VIDBATCH_REDIS_{name}": str(files / value) if name.endswith("FILE") else value for name, value in told.items()
    }
    with pytest.raises(SettingsError, match=says) as refused:
        redis_place(url, environment)
    assert SECRET not in str(refused.value)
    assert "other@" not in str(refused.value)


def test_a_workers_settings_show_no_password():
    settings = settings_from({"VIDBATCH_REDIS": f"redis://:{SECRET}@host"})
    assert SECRET not in repr(settings)
