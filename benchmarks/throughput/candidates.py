"""Who is measured: vidbatch as people start it, and what they would write instead; and what each made of its rows."""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from pipeline.edges.embedded import server_binary

KEY = "sk-bench-0123456789"
VIDBATCH = str(Path(sys.executable).parent / "vidbatch")
BASELINES = Path(__file__).parent.parent / "baselines"
PROMPT = "Describe the video."


@dataclass(frozen=True, slots=True)
class Place:
    """Where one measurement happens: a short folder of its own, the manifest, and the simulator's address."""

    folder: Path
    manifest: Path
    base_url: str

    @property
    def out(self) -> Path:
        """Where the candidate writes."""
        return self.folder / "out"

    @property
    def state(self) -> Path:
        """vidbatch's state folder: its server's data and socket."""
        return self.folder / "st"

    @property
    def log(self) -> Path:
        """What the candidate said."""
        return self.folder / "log"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to annotate a manifest: its words at a place, and how many of its rows are completed."""

    name: str
    rows: int
    words: Callable[[Place], list[str]]
    completed: Callable[[Place], int]


def vidbatch(name: str, rows: int, workers: int, *options: object) -> Candidate:
    """`vidbatch run` on its private stack."""
    return Candidate(name, rows, lambda place: run_words(place, workers, *options), _counted)


def run_words(place: Place, workers: int, *options: object) -> list[str]:
    """`vidbatch run`, as a person types it."""
    words = [VIDBATCH, "run", str(place.manifest), "--out", str(place.out), "--base-url", place.base_url]
    return [*words, "--prompt", PROMPT, "--workers", str(workers), "--yes", "--json", *map(str, options)]


def _counted(place: Place) -> int:
    """By the answer on its standard output, which must agree with the done marker."""
    lines = place.log.read_text(encoding="utf-8").splitlines()
    answer = next((line for line in reversed(lines) if line.startswith("{")), None)
    if answer is None:
        return 0
    told = orjson.loads(answer)
    marker = orjson.loads((place.out / "runs" / told["run_id"] / "done.json").read_bytes())
    return int(told["outcomes"]["completed"]) if marker["outcomes"] == told["outcomes"] else 0


def script(name: str, rows: int, file: str, *options: object) -> Candidate:
    """A script of `benchmarks/baselines/` that writes one file of JSON lines."""

    def words(place: Place) -> list[str]:
        start = [sys.executable, str(BASELINES / file), str(place.manifest), str(place.out)]
        return [*start, "--base-url", place.base_url, *map(str, options)]

    return Candidate(name, rows, words, lambda place: _lines_completed([place.out]))


def celery(name: str, rows: int, search_path: str | None, *options: str) -> Candidate:
    """The Celery baseline, with a server of its own."""

    def words(place: Place) -> list[str]:
        start = [sys.executable, str(BASELINES / "celery_run.py"), str(place.manifest), str(place.out)]
        return [*start, "--base-url", place.base_url, "--server", server_binary(search_path), *options]

    return Candidate(name, rows, words, lambda place: _lines_completed(place.out.glob("*.jsonl")))


def _lines_completed(files: Iterable[Path]) -> int:
    lines = (orjson.loads(line) for file in files for line in file.read_bytes().splitlines())
    return len({line["id"] for line in lines if line["status"] == "completed" and line["content"]})


def environment(place: Place, given: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the person's own settings of vidbatch; its key, which the scripts have under their own name."""
    kept = {name: value for name, value in given.items() if not name.startswith("VIDBATCH_")}
    return {
        **kept,
        "VIDBATCH_STATE": str(place.state),
        "VIDBATCH_API_KEY": KEY,
        "API_KEY": KEY,
        "COLUMNS": "200",
        "VIDBATCH_OFFLINE": "1",
    }
