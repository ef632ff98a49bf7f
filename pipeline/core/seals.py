"""Where an API key may be sent: whoever holds it says so, by a seal that nobody makes without it.

A run's address comes from Redis, where others may write; a worker sends its key nowhere unless the address is sealed.
"""

import hmac

from pipeline.core.account import Secret, checked_base_url
from pipeline.core.errors import SettingsError

_DOMAIN = b"vidbatch/base-url/1\x00"


def seal_of(key: Secret, base_url: str) -> str:
    """The seal of an address, just as requests go there. SettingsError for what is no address."""
    text = _DOMAIN + checked_base_url(base_url).encode()
    return hmac.digest(key.reveal().encode(), text, "sha256").hex()


def seal_holds(key: Secret, base_url: str, seal: str | None) -> bool:
    """Whether somebody who holds this key sealed this very address."""
    if seal is None:
        return False
    try:
        right = seal_of(key, base_url)
    except (SettingsError, UnicodeEncodeError):
        return False
    return hmac.compare_digest(right.encode(), seal.encode(errors="replace"))
