"""What the lab asks: a manifest whose rows can be told apart by everything that is known of them.

Each row has a prompt and a video of its own, and the simulated API ends every answer with a digest of both. So an
answer under another row is seen, and every POST in the API's books belongs to one row.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

COLUMNS = ("id", "video_url", "prompt")


@dataclass(frozen=True, slots=True)
class Question:
    """So many rows; a row is known by its index."""

    rows: int

    def write(self, path: Path) -> None:
        """Write the manifest."""
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *(self.cells(index) for index in range(self.rows))])

    def cells(self, index: int) -> tuple[str, str, str]:
        """A row's id, video URL and prompt."""
        return f"v{index}", f"https://videos.example/{index}.mp4", f"Describe clip {index}."

    def by_prompt(self) -> Mapping[str, int]:
        """Row indexes by the SHA-256 of their prompt in hexadecimal, which is what the API's books call them by."""
        return {sha256(self.cells(index)[2].encode()).hexdigest(): index for index in range(self.rows)}

    def digest(self, index: int) -> str:
        """What this row's answer ends with, computed here anew: number of videos, their hashes, the prompt.

        In its fast mode the simulator takes a video's URL for its bytes.
        """
        _, url, prompt = self.cells(index)
        return sha256((1).to_bytes(8, "big") + sha256(url.encode()).digest() + prompt.encode()).hexdigest()
