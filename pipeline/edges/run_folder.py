"""A run's files: `OUT/runs/<id>/`, and what it publishes beside."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from pipeline.core.budget import Settled
from pipeline.core.costs import Price, PriceList
from pipeline.core.ends import Columns
from pipeline.core.errors import StorageError
from pipeline.core.judging import Judging
from pipeline.core.late import LateId
from pipeline.core.receipt import Found
from pipeline.core.recovery import Ended
from pipeline.core.rows import Rows
from pipeline.core.summary import Totals
from pipeline.edges import annotations_file, publishing, sent_ids
from pipeline.edges.audit import Places, audit
from pipeline.edges.draft import Draft
from pipeline.edges.duplicates_file import DuplicatesFile
from pipeline.edges.early import is_due, publish_early
from pipeline.edges.ends_table import joined
from pipeline.edges.feed_mark import FeedMark
from pipeline.edges.files import alone_in_store, copied, remove_files, remove_folder, write_bytes
from pipeline.edges.mirror import Mirror
from pipeline.edges.places import ObjectPlace, Place, listed
from pipeline.edges.publishing import Publication, publish_new
from pipeline.edges.requests_reader import RequestsFile
from pipeline.edges.run_marks import RunMarks, read_json

IDS_IN_STORE_S = 3.0


class LocalRunFolder(RunMarks):
    """Implements `ports.RunFolder`."""

    def __init__(self, out: Place, run_id: str) -> None:
        self.out = out
        self.run_id = run_id
        self.path = out / "runs" / run_id
        self._requests: RequestsFile | None = None
        self._judging: Judging | None = None
        self._mark = FeedMark(self.path)
        self._described: dict[str, Any] | None = None
        self._summary: dict[str, Any] | None = None
        self._draft = Draft(self.path)
        self._sent = Mirror(self.path / "sent", "*.jsonl")
        self._early_from = 0.0

    @property
    def ids_every_s(self) -> float:
        """How often accepted ids are saved: each time is a file, and in a store requests whenever they are read."""
        return IDS_IN_STORE_S if isinstance(self.path, ObjectPlace) else 0.0

    @property
    def published(self) -> Place:
        """Where the run's annotations are published."""
        return self.out / "annotations" / f"run={self.run_id}"

    @property
    def usage_path(self) -> Place:
        """Where its tokens and cost are summed up."""
        return self.out / "usage" / f"run={self.run_id}.parquet"

    @property
    def receipt_path(self) -> Place:
        """What its files amounted to when it was done."""
        return self.path / "receipt.json"

    @property
    def report_path(self) -> Place:
        """What a person reads of it."""
        return self.path / "report.html"

    @property
    def done_path(self) -> Place:
        """The done marker."""
        return self.path / "done.json"

    def described(self) -> dict[str, Any]:
        """`run.json`. StorageError when it can't be read."""
        if self._described is None or isinstance(self.path, Path):
            self._described = read_json(self.path / "run.json")
        return dict(self._described)

    def look(self) -> bool:
        """Whether the run is planned; what it says of itself, and of its end, is known from then on."""
        try:
            self._described = dict(orjson.loads((self.path / "run.json").read_bytes()))
        except FileNotFoundError:
            return False
        self.summary()
        return True

    @property
    def draft(self) -> Path:
        """Where the files of a plan are made; a run in an object store gets them when it is described."""
        return self._draft.folder()

    def describe(self, description: Mapping[str, object]) -> None:
        """Write `run.json`, last of all files of the plan."""
        self._draft.deliver()
        write_bytes(self.path / "run.json", orjson.dumps(description, option=orjson.OPT_INDENT_2))

    def summary(self) -> dict[str, Any] | None:
        """What the done marker says; nothing while the run is not done."""
        if isinstance(self.done_path, ObjectPlace):
            return self._summary_in_store(self.done_path)
        return read_json(self.done_path) if self.done_path.exists() else None

    def _summary_in_store(self, done: ObjectPlace) -> dict[str, Any] | None:
        """The same, asked for until it is there: a marker is never taken back."""
        try:
            self._summary = self._summary or dict(orjson.loads(done.read_bytes()))
        except FileNotFoundError:
            return None
        return dict(self._summary)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end, though the files that tell so may be gone: its parts went with the end."""
        under_way = any((self.path / "parts").glob("part-*.parquet"))
        return self.done_path.exists() or (not under_way and self.has_results)

    @property
    def has_results(self) -> bool:
        """Whether anything of it is published, or a receipt is given."""
        return self.receipt_path.exists() or any(self.published.glob("*"))

    @property
    def begun(self) -> bool:
        """Whether rows of this run may have been sent; until then it is only a plan."""
        return self._summary is not None or (self.path / "begun").exists() or self.fed() > 0

    def discard(self) -> None:
        """Remove a plan of which nothing was sent."""
        self._draft.drop()
        (self.path / "run.json").unlink(missing_ok=True)
        remove_folder(self.path)

    def requests(self) -> RequestsFile:
        """The planned requests."""
        if self._requests is None:
            self._requests = RequestsFile(self.path / "requests.parquet")
        return self._requests

    def duplicates(self) -> DuplicatesFile:
        """Rows that ask what another row of the run asks; their annotations are made of that row's."""
        return DuplicatesFile(self.path / "duplicates.parquet")

    def holds(self, token: str) -> bool:
        """Whether this is really the run's storage."""
        self._described = None  # it may be another's by now
        try:
            return bool(self.described().get("token") == token)
        except StorageError:
            return False

    def mark_fed(self, until: int) -> None:
        """Raise the feed's high-water mark, durably; it never goes back, whoever else raises it."""
        self._mark.lift(until)

    def fed(self) -> int:
        """The feed's high-water mark; 0 before the first."""
        return self._mark.read()

    def write_part(self, epoch: str, start: int, end: int, ends: Iterable[Columns]) -> None:
        """Write ended rows durably as one part, under the name of its range."""
        requests, names, schema = self.requests(), self.described()["carried"], self._schema()
        tables = (joined(requests.asked(some.row_indexes), some, names, schema) for some in ends)
        annotations_file.write_part(self.path / "parts" / range_name(epoch, start, end, "parquet"), schema, tables)

    def save_ids(self, epoch: str, start: int, end: int, lines: Sequence[bytes]) -> None:
        """Save accepted ids durably under the name of their range."""
        write_bytes(self.path / "sent" / range_name(epoch, start, end, "jsonl"), b"\n".join(lines) + b"\n")

    def saved_ids(self) -> list[list[Any]]:
        """Accepted ids on disk, late ones too: [row index, generation id, accepted at µs, attempt, resubmits]."""
        return list(sent_ids.saved_ids(self._sent.here()))

    def open_ids(self, ended: Rows, within: range | None = None) -> Iterator[list[Any]]:
        """The same of rows that are not among these, and within this range."""
        return sent_ids.open_ids(self._sent.here(), ended, within)

    def late_ids(self) -> dict[int, list[LateId]]:
        """By row, the ids on disk that their row went on without, with their ending where it is known."""
        return sent_ids.late_ids(self._sent.here())

    def ended(self) -> Ended:
        """The rows whose end is on disk."""
        return annotations_file.ended(self._ends())

    def settled(self) -> Settled:
        """What the rows whose end is on disk really used, and late ids whose end is there."""
        late = sent_ids.late_ids(self._sent.here())
        return annotations_file.settled(self._ends(), late, self._prices() if late else {})

    def _ends(self) -> list[Place]:
        """The files of annotations, published ones first: of two ends of a row, the published one holds."""
        return [*annotations_file.published_files(self.published), *self._parts()]

    def judging(self) -> Judging:
        """What judges the run's answers."""
        if self._judging is None:
            self._judging = judging_by(self.described())
        return self._judging

    def _prices(self) -> PriceList:
        return {model: Price(**price) for model, price in self.described().get("prices", {}).items()}

    def publish(self) -> Totals:
        """Publish the parts that are not published yet, and write the usage table; the sums of what is published."""
        with self._publishing() as publication:
            publish_new(publication)
        tally = annotations_file.summed(self.published, self._prices())
        annotations_file.write_usage(tally.usage, self.usage_path)
        return tally.totals()

    def publish_early(self, stop: Callable[[], bool]) -> None:
        """Publish rows that nothing can change any more, where they fill a file; those of a finished run are all.

        What was tried for nothing is tried again when a quarter of a file more is there.
        """
        try:
            parts = self._parts()
            if waiting := is_due(self._publication(parts, self.path / "sent"), self._least_early(parts)):
                with self._publishing() as publication:
                    told = publish_early(publication, stop)
                self._early_from = 0.0 if told or stop() else waiting + publishing.FILE_BYTES / 4
        except (OSError, StorageError) as error:
            if not self.done_path.exists():  # else its parts went meanwhile
                raise StorageError(f"{self.published} can't be written: {error}") from error

    def _least_early(self, parts: Sequence[Place]) -> float:
        """In a store all parts are fetched for it, so it is done only a few times in a run, however long this is."""
        held = sum(part.stat().st_size for part in parts) if isinstance(self.path, ObjectPlace) else 0
        return max(self._early_from, held / 4)

    @contextmanager
    def _publishing(self) -> Iterator[Publication]:
        """What is to be published, on this machine; nobody else publishes it in a store meanwhile."""
        with (
            alone_in_store(self.path / ".publishing"),
            copied(self.path / "parts", "part-*.parquet") as parts,
        ):
            yield self._publication(parts, self._sent.here())

    def _publication(self, parts: Sequence[Place], sent: Place) -> Publication:
        return Publication(
            parts=parts,
            into=self.published,
            sent=sent,
            scratch=self.path,
            schema=self._schema(),
            prices=self._prices(),
            judge=self.judging(),
            duplicates=self.duplicates(),
            carried=self.described()["carried"],
        )

    def _parts(self) -> list[Place]:
        return listed(self.path / "parts", "part-*.parquet")

    def found(self) -> Found:
        """What the run's files say, all of them read again."""
        return audit(Places(self.out, self.path, self.published, self.usage_path, self._sent.here()), self.described())

    def receipt(self) -> dict[str, Any] | None:
        """`receipt.json`; nothing while the run has none. StorageError when it can't be read."""
        return read_json(self.receipt_path) if self.receipt_path.exists() else None

    def give_receipt(self, receipt: Mapping[str, object]) -> None:
        """Write `receipt.json`, durably."""
        write_bytes(self.receipt_path, orjson.dumps(receipt, option=orjson.OPT_INDENT_2))

    def finish(self, summary: Mapping[str, object]) -> None:
        """Write the done marker, last of all; then the parts are only a second copy, and go."""
        write_bytes(self.done_path, orjson.dumps(summary, option=orjson.OPT_INDENT_2))
        remove_files(self.path / "parts", "part-*.parquet")

    def _schema(self) -> Any:  # noqa: ANN401 - pyarrow has no types
        described = self.described()
        return annotations_file.schema_of(described["carried"].values(), self.run_id, described.get("answer_shape"))


def judging_by(described: Mapping[str, Any]) -> Judging:
    """What judges answers, by what a run's description says of their schema."""
    if "answer_schema" not in described:
        return Judging()
    from pipeline.edges.schemas import judging_of  # noqa: PLC0415 - a run without a schema loads no validator

    return judging_of(described)


def range_name(epoch: str, start: int, end: int, ending: str) -> str:
    """The name of a part: a range has one name, so writing it again replaces it."""
    return f"part-{epoch}-{start:012}-{end:012}.{ending}"
