"""Which keys' runs a key serves: its own, and those of the keys whose place it took."""

from collections.abc import Mapping

MOST_STEPS = 100
"""Keys are replaced a few times a year."""


def serves(fingerprint: str, replaced: Mapping[str, str]) -> frozenset[str]:
    """Fingerprints of the keys that lead to this one; `replaced` has the next key's under each one's.

    Keys that took each other's place in turn serve each other's runs.
    """
    found = {fingerprint}
    for first in replaced:
        at, passed = first, [first]
        while at != fingerprint and at in replaced and len(passed) < MOST_STEPS:
            at = replaced[at]
            passed.append(at)
        if at == fingerprint:
            found.update(passed)
    return frozenset(found)
