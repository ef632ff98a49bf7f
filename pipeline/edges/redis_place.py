"""Where Redis is and who asks there: the one place that makes connection settings of an address and the environment.

All of vidbatch goes through it: the ledger's client, Celery's broker, and what is started with the same app.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.redis_address import RedisAddress, parse_address
from pipeline.edges.environment import process_environment

USER = "VIDBATCH_REDIS_USER"
PASSWORD = "VIDBATCH_REDIS_PASSWORD"  # noqa: S105 - a variable's name
PASSWORD_FILE = "VIDBATCH_REDIS_PASSWORD_FILE"  # noqa: S105
CA_FILE = "VIDBATCH_REDIS_CA_FILE"
CERT_FILE = "VIDBATCH_REDIS_CERT_FILE"
KEY_FILE = "VIDBATCH_REDIS_KEY_FILE"


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """One server, with all that it takes to be let in."""

    address: RedisAddress
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    @property
    def shown(self) -> str:
        """The address for people, without user and password."""
        return self.address.shown

    @property
    def is_private(self) -> bool:
        """Whether it is a socket of this machine, which its permissions guard."""
        return self.address.scheme == "unix"

    def client_settings(self) -> dict[str, Any]:
        """What a client of redis-py is made with, apart from its patience."""
        where = (
            {"path": self.address.path}
            if self.is_private
            else {"host": self.address.host, "port": self.address.port, **self.tls()}
        )
        who = {"username": self.user or None, "password": self.password} if self.password else {}
        return {**where, **who, "db": self.address.database}

    def tls(self) -> dict[str, Any]:
        """How its certificate is checked, as redis-py, Celery and Flower take it; empty where no TLS is spoken."""
        if self.address.scheme != "rediss":
            return {}
        files = {"ssl_ca_certs": self.ca_file, "ssl_certfile": self.cert_file, "ssl_keyfile": self.key_file}
        return {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            **{name: file for name, file in files.items() if file},
        }


def redis_place(url: str, environment: Mapping[str, str] | None = None, name: str = "--redis") -> RedisPlace:
    """The place that an address and the environment name. SettingsError says which of them can't be used, and why.

    User, password and certificates of the environment are for servers that are reached by TCP: a socket's permissions
    guard it, and the private server has no password.
    """
    told = process_environment() if environment is None else environment
    address = parse_address(url, name)
    if address.scheme == "unix":
        return RedisPlace(address, address.user, address.password)
    password = _password(told)
    if address.password and password and address.password != password:
        given = PASSWORD_FILE if told.get(PASSWORD_FILE) else PASSWORD
        raise SettingsError(f"{name} holds another password than {given}; leave it out of the address")
    user = address.user or told.get(USER, "")
    if user and not (address.password or password):
        raise SettingsError(f"{name}: there is a user and no password; set {PASSWORD_FILE} to a file that holds it")
    return RedisPlace(address, user, address.password or password, *_certificates(address, told, name))


def _password(told: Mapping[str, str]) -> str:
    if not (path := told.get(PASSWORD_FILE)):
        return told.get(PASSWORD, "").strip()
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise SettingsError(f"{PASSWORD_FILE}: {path} can't be read: {why}") from None
    if not text:
        raise SettingsError(f"{PASSWORD_FILE}: {path} is empty")
    return text


def _certificates(address: RedisAddress, told: Mapping[str, str], name: str) -> tuple[str, str, str]:
    ca, cert, key = (told.get(variable, "") for variable in (CA_FILE, CERT_FILE, KEY_FILE))
    given = {variable: path for variable, path in ((CA_FILE, ca), (CERT_FILE, cert), (KEY_FILE, key)) if path}
    if address.scheme != "rediss":
        if given:
            raise SettingsError(
                f"{next(iter(given))} is set, and {name} is {address.shown}, where no TLS is spoken: write rediss://"
            )
        return "", "", ""
    for variable, path in given.items():
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise SettingsError(f"{variable}: {path} can't be read: {error.strerror}") from None
    if bool(cert) != bool(key):
        raise SettingsError(f"{CERT_FILE} and {KEY_FILE} belong together; {CERT_FILE if key else KEY_FILE} is missing")
    return ca, cert, key
