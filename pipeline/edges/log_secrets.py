"""Which secrets a process was given by its environment, so that its log never tells them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

_SECRET = re.compile(r"(?:KEY|SECRET|PASSWORD|PASSWD|TOKEN|ACCESS_KEY_ID)$")
_IN_A_FILE = re.compile(r"(?:KEY|SECRET|PASSWORD|PASSWD|TOKEN)_FILE$")
_IN_A_URL = re.compile(r"://[^\s/:@?#]*:([^\s/?#]+)@")
_LONGEST_FILE = 65536


def secrets_of(environment: Mapping[str, str]) -> Iterator[str]:
    """The values of variables that are named like secrets, what the files hold that they name, passwords in URLs.

    What can't be read is passed over: whoever needs it says so.
    """
    for name, value in environment.items():
        for password in _IN_A_URL.findall(value):
            yield password
            yield unquote(password)
        if _IN_A_FILE.search(name):
            yield from _words_in(value)
        elif _SECRET.search(name):
            yield value.strip()


def _words_in(path: str) -> Iterator[str]:
    """A file's text, and its lines: more than one may be a secret. Of a private key in PEM, each line is one."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LONGEST_FILE).decode("utf-8", "replace").strip()
    except OSError:
        return
    if text:
        yield text
        yield from (line.strip() for line in text.splitlines() if not line.startswith("-----"))
