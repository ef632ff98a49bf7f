"""Messages to a schedule's URL, signed as Standard Webhooks has it, through the one door of HTTP.

The receiver decides by its status alone: what else it says is not read, and where it points is not followed.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from pipeline.core.errors import SettingsError

if TYPE_CHECKING:
    from pipeline.edges.http import HttpDoor

SECRET, SECRET_FILE = "VIDBATCH_NOTIFY_SECRET", "VIDBATCH_NOTIFY_SECRET_FILE"
PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
"""How long a secret may be, by the specification."""

TIMEOUT_S = 10.0
NO_SECRET = f"no control worker has a secret to sign with: set {SECRET_FILE} there"
_ALLOWED = f"allowed is {PREFIX} and the base64 of {SECRET_BYTES.start} to {SECRET_BYTES[-1]} bytes"


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """What messages are signed with; shown as a mask, refused by pickle and copy."""

    _value: bytes = field(repr=False)

    def signature(self, signed: bytes) -> str:
        """The signature as the header has it."""
        return "v1," + base64.b64encode(hmac.digest(self._value, signed, hashlib.sha256)).decode()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A secret is never pickled or copied.")


def secrets_from(environment: Mapping[str, str]) -> tuple[SigningSecret, ...]:
    """The secrets of this process, none where none is set; several, with blanks between, while they are exchanged.

    SettingsError names the variable, and never what it holds.
    """
    name, text = SECRET, environment.get(SECRET, "")
    if path := environment.get(SECRET_FILE):
        name = SECRET_FILE
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            told = error.strerror if isinstance(error, OSError) else "it is no text"
            raise SettingsError(f"{SECRET_FILE}: {path} can't be read: {told}") from None
    return tuple(_secret(word, name) for word in text.split())


def _secret(text: str, name: str) -> SigningSecret:
    try:
        value = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        value = b""
    if not text.startswith(PREFIX) or len(value) not in SECRET_BYTES:
        raise SettingsError(f"{name}: found {len(text)} characters that are no secret of webhooks; {_ALLOWED}")
    return SigningSecret(value)


def signed_headers(secrets: Sequence[SigningSecret], message_id: str, sent_at_s: int, body: bytes) -> dict[str, str]:
    """The headers by which a receiver knows who sent this, and that it is what was sent."""
    signed = b"%s.%d.%s" % (message_id.encode(), sent_at_s, body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at_s),
        "webhook-signature": " ".join(secret.signature(signed) for secret in secrets),
        "content-type": "application/json",
        "user-agent": "vidbatch",
    }


def checked_url(url: str, option: str) -> str:
    """A URL that may be told. SettingsError for any other; it does not repeat what may be a password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable or any(character.isspace() or not character.isprintable() for character in url):
        raise SettingsError(f"{option}: found what is no URL; allowed is an http or https URL")
    if parts.username is not None or parts.password is not None or "#" in url:
        raise SettingsError(
            f"{option}: found a URL with a user, a password or a fragment; allowed is one without: the receiver knows "
            f"the sender by the signature, whose secret is in {SECRET_FILE} of the control workers"
        )
    return url


def shown_url(url: str) -> str:
    """A URL for people: its path and query may be all that protects it."""
    parts = urlsplit(url)
    whole = parts.path in {"", "/"} and not parts.query
    return f"{parts.scheme}://{parts.netloc}{'' if whole else '/…'}"


class Webhook:
    """Sends messages from one process and event loop; its client is made with the first of them.

    The secrets are looked up for each message, so that a file may be exchanged while workers go on.
    """

    def __init__(self, secrets: Callable[[], Sequence[SigningSecret]], timeout_s: float = TIMEOUT_S) -> None:
        self._secrets = secrets
        self._timeout_s = timeout_s
        self._door: HttpDoor | None = None

    def trouble(self) -> str:
        """Why nothing could be sent from here; empty where it could."""
        try:
            return "" if self._secrets() else NO_SECRET
        except SettingsError as error:
            return str(error)

    async def send(self, url: str, message_id: str, sent_at_s: int, body: bytes) -> str:
        """Send one message, once. Why it did not arrive; empty where it did."""
        from pipeline.edges.http import DoorError  # noqa: PLC0415 - a worker that tells nobody loads no client

        try:
            secrets = self._secrets()
        except SettingsError as error:
            return str(error)
        if not secrets:
            return NO_SECRET
        try:
            status = await self._opened().status_of_post(
                url, signed_headers(secrets, message_id, sent_at_s, body), body
            )
        except DoorError as error:
            return f"{shown_url(url)} did not answer: {error.problem.message}".replace(url, shown_url(url))
        if 200 <= status < 300:  # noqa: PLR2004 - the HTTP classes
            return ""
        redirect = "; redirects are not followed" if 300 <= status < 400 else ""  # noqa: PLR2004 - the same
        return f"{shown_url(url)} answered {status}{redirect}"

    async def close(self) -> None:
        """Close its connections."""
        if self._door is not None:
            await self._door.close()

    def _opened(self) -> "HttpDoor":
        from pipeline.edges.http import HttpDoor  # noqa: PLC0415 - as above
        from pipeline.edges.http_transport import HttpSettings  # noqa: PLC0415 - as above

        if self._door is None:
            most = self._timeout_s
            self._door = HttpDoor(HttpSettings(connect_timeout_s=most, read_timeout_s=most, total_timeout_s=most))
        return self._door
