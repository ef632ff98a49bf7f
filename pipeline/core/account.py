"""Who pays: the API key as a value that can't slip out, and the account that limits are counted for.

The key itself never leaves the process that sends: Redis, logs and the dataset see a fingerprint. Nothing here may
ever print, compare in text or serialise a key.
"""

import hashlib
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import urlsplit

from pipeline.core.errors import KeyMissing, SettingsError

MASK = "[key]"
_FINGERPRINT_DOMAIN = b"vidbatch/account-key/1\x00"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Secret:
    """An API key: shown as a mask everywhere, refused by pickle and copy, readable only through `reveal`.

    Raises `KeyMissing` when it is empty and `SettingsError` when it can't stand in an HTTP header.
    """

    _value: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse here what an HTTP library would refuse later, in a message that quotes the key."""
        if not self._value:
            raise KeyMissing("No API key was given.")
        if not all("!" <= character <= "~" for character in self._value):
            raise SettingsError("The API key holds a space, a line break or a character outside ASCII.")

    def reveal(self) -> str:
        """Return the key itself, for the one header that needs it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A secret is never pickled or copied.")


def key_fingerprint(key: str) -> str:
    """Return 12 hexadecimal digits that name `key` without telling it."""
    return hashlib.sha256(_FINGERPRINT_DOMAIN + key.encode()).hexdigest()[:12]


def account_id(base_url: str, fingerprint: str) -> str:
    """Return the name under which limits are shared: host, port where unusual, path, and the key's fingerprint.

    Spellings of the same base URL (case of the host, a trailing slash, the default port) give the same account.
    """
    parts = urlsplit(base_url.strip())
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.hostname or ''}{port}{parts.path.rstrip('/')}#{fingerprint}"


def checked_base_url(base_url: str) -> str:
    """Return the base URL without a closing slash, if requests can be made of it; `SettingsError` otherwise."""
    try:
        parts = urlsplit(base_url.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("The API's base URL is not an http or https URL.")
    if parts.query or parts.fragment or parts.username is not None:
        raise SettingsError("The API's base URL must hold no query, fragment, user name or password.")
    return base_url.strip().rstrip("/")
