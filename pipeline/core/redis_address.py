"""A Redis server's address as a person writes it, taken apart; no message here ever quotes what may hold a password."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from pipeline.core.errors import SettingsError

SCHEMES = ("redis", "rediss", "unix")
ALLOWED = "redis://host:6379/0, rediss://host:6379/0 for TLS, and unix:///path/to/socket"
DEFAULT_PORT = 6379
MOST_DATABASE = 65_535


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a server is, and what the address itself says of who asks."""

    scheme: str
    host: str
    port: int
    path: str
    """The socket of `unix://`."""
    database: int
    user: str
    password: str = field(repr=False)

    @property
    def shown(self) -> str:
        """The address for people, without user and password."""
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.database}"


def parse_address(url: str, name: str = "--redis") -> RedisAddress:
    """Take an address apart. SettingsError says what is wrong, in words that hold nothing of it but its scheme."""
    scheme, separator, rest = url.strip().partition("://")
    if scheme not in SCHEMES or not separator:
        found = f"{scheme}://…" if separator and scheme.replace("+", "").isalpha() else "an address of another form"
        raise SettingsError(f"{name}: found {found}; allowed are {ALLOWED}")
    who = "" if rest.startswith("/") else rest.rpartition("@")[0]
    if "#" in rest or "/" in who or "?" in who:
        raise SettingsError(f"{name}: user and password may hold none of / ? # as they are: write %2F, %3F or %23")
    parts = urlsplit(url.strip())
    try:
        port = parts.port
    except ValueError:
        raise SettingsError(f"{name}: the port is none; allowed are whole numbers from 1 to 65535") from None
    if scheme == "unix" and (parts.hostname or not parts.path.strip("/")):
        raise SettingsError(f"{name}: unix:// wants the socket's path and no host: unix:///path/to/socket")
    if scheme != "unix" and not parts.hostname:
        raise SettingsError(f"{name}: the host is missing; allowed are {ALLOWED}")
    if port == 0:
        raise SettingsError(f"{name}: the port is 0; allowed are whole numbers from 1 to 65535")
    return RedisAddress(
        scheme,
        parts.hostname or "",
        port or DEFAULT_PORT,
        unquote(parts.path) if scheme == "unix" else "",
        _database(parts.query, "" if scheme == "unix" else parts.path.strip("/"), name),
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )


def _database(query: str, path: str, name: str) -> int:
    told = dict(parse_qsl(query, keep_blank_values=True))
    if set(told) - {"db"}:
        raise SettingsError(
            f"{name}: behind the ? only db is allowed; certificates are named by VIDBATCH_REDIS_CA_FILE, "
            "VIDBATCH_REDIS_CERT_FILE and VIDBATCH_REDIS_KEY_FILE, and are always checked"
        )
    text = told.get("db", path) or "0"
    if not (text.isascii() and text.isdigit()) or int(text) > MOST_DATABASE:
        raise SettingsError(f"{name}: the database, behind the last /, is no whole number from 0")
    return int(text)
