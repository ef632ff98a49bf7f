"""What is left of a plan to be sent, once what need not be was taken out."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.core.estimates import Lengths
from pipeline.core.models import Thinking


@dataclass(slots=True)
class Sifted:
    """Counts of requests, duplicates and reused rows, these by outcome; and what an estimate takes of the requests."""

    requests: int = 0
    duplicates: int = 0
    reused: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    videos: int = 0
    prompt_characters: int = 0
    lengths: Lengths = field(default_factory=Lengths)
    thinking: Thinking = field(default_factory=Thinking)
