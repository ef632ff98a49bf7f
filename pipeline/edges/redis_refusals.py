"""What it means when Redis lets nobody in, and what to set: in words, for whoever has to change something."""

from pipeline.edges.redis_place import CA_FILE, CERT_FILE, KEY_FILE, PASSWORD_FILE, USER, RedisPlace

_GIVE = f"set {PASSWORD_FILE} to a file that holds it"


def refusal(error: BaseException, place: RedisPlace) -> str | None:
    """Why waiting will not help, or nothing where it may: the server is away, or is loading."""
    said = _chain(error)
    known = [words for signs, words in _KNOWN if any(sign in said for sign in signs)]
    if not known:
        return None
    return known[0].format(at=place.shown, user=place.user or "default", said=" ".join(str(error).split())[:200])


def hint(error: BaseException, place: RedisPlace) -> str:
    """What may be behind a connection over TLS that breaks or hangs without a word; empty for any other."""
    said = _chain(error)
    if not place.tls():
        return ""
    if not place.cert_file and any(sign in said for sign in ("closed by server", "reset by peer")):
        return f"; if it wants a certificate of its clients, set {CERT_FILE} and {KEY_FILE}"
    return "; if it speaks no TLS there, write redis://" if "Timeout connecting" in said else ""


_WRONG = (
    f"Redis at {{at}} refuses user {{user}} with this password (WRONGPASS): {_GIVE}, and {USER} to the user that it "
    "belongs to"
)
_NEEDLESS = (
    f"Redis at {{at}} has no password for user {{user}}, and one is given: set {USER} to the user that it belongs to, "
    f"or unset {PASSWORD_FILE}"
)
_MISSING = f"Redis at {{at}} wants a password (NOAUTH): {_GIVE}"
_FORBIDDEN = (
    "Redis at {at} does not let user {user} do what is needed (NOPERM: {said}): give it the rules of SECURITY.md, with "
    "~vidbatch:* and &vidbatch:*"
)
_OTHER_NAME = (
    "the certificate of Redis at {at} is for another name: give the address under the name that it was made for"
)
_UNTRUSTED = (
    f"the certificate of Redis at {{at}} is not trusted (certificate verify failed): set {CA_FILE} to the certificate "
    "of whoever signed it"
)
_WANTS_OURS = f"Redis at {{at}} wants a certificate of its clients that it trusts: set {CERT_FILE} and {KEY_FILE}"
_NO_TLS = "Redis at {at} speaks no TLS: write redis:// instead of rediss://, or give the port on which it does"

_KNOWN = (
    (("WRONGPASS", "invalid username-password pair", "invalid password"), _WRONG),
    (("without any password configured",), _NEEDLESS),
    (("NOAUTH", "Authentication required", "HELLO must be called with the client already auth"), _MISSING),
    (("NOPERM", "no permissions", "No permissions", "The user executing the script can"), _FORBIDDEN),
    (("Hostname mismatch", "IP address mismatch", "is not valid for"), _OTHER_NAME),
    (("CERTIFICATE_VERIFY_FAILED", "certificate verify failed"), _UNTRUSTED),
    (
        ("CERTIFICATE_REQUIRED", "certificate required", "HANDSHAKE_FAILURE", "ALERT_BAD_CERT", "UNKNOWN_CA"),
        _WANTS_OURS,
    ),
    (("WRONG_VERSION_NUMBER", "wrong version number", "record layer failure"), _NO_TLS),
)
"""By what errors say of themselves, the most telling first."""


def _chain(error: BaseException | None) -> str:
    """All that an error and those beneath it say."""
    said: list[str] = []
    while error is not None and len(said) < 8:  # noqa: PLR2004 - none is deeper
        said.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return "\n".join(said)
