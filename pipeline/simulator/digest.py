"""The fingerprint that ties an answer to what was asked.

Each video enters as its SHA-256, so that a cache needs 32 bytes a video and not the video; the number of videos goes
first. Every part before the prompt has a fixed width, so no two different questions share a framing.
"""

from collections.abc import Sequence
from hashlib import sha256


def digest_of_hashes(hashes: Sequence[bytes], prompt: str) -> bytes:
    """Return the 32-byte digest of videos known by their 32-byte SHA-256s, and of the prompt."""
    framed = len(hashes).to_bytes(8, "big") + b"".join(hashes) + prompt.encode()
    return sha256(framed).digest()


def digest(videos: Sequence[bytes], prompt: str) -> str:
    """Return the hex digest that an answer about these videos, in this order, and this prompt ends with.

    In fast mode the simulator downloads nothing: there a video's bytes are its URL in UTF-8.
    """
    return digest_of_hashes([sha256(video).digest() for video in videos], prompt).hex()
