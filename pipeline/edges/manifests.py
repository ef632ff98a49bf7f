"""The door to manifests: files of any allowed format and compression become rows, in bounded memory.

A row that can't be read is passed on with its fault, so that it ends in the rejects and is counted. A file that
can't be read is a `ManifestError`, one sentence that names the file and says what to do. Cells are passed on as they
stand: judging them is the core's work.
"""

import csv
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import orjson
import pyarrow as pa
from pyarrow import parquet

from pipeline.core.cells import Fault
from pipeline.core.errors import ManifestError
from pipeline.core.requests import RawRow
from pipeline.core.sources import VIDEO_COLUMNS
from pipeline.edges.stored_manifest import ManifestPlace, file_of
from pipeline.edges.texts import COMPRESSIONS, LONGEST_LINE, Lines, raw_lines, shown_path, trouble

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
ALLOWED = ".csv, .tsv, .jsonl or .ndjson (also with .gz or .zst after it), or .parquet; text in UTF-8, one row a line"
PARQUET_ROWS = 1024  # decoded at a time: 100 MB when each bears a prompt of the longest kind
PARQUET_BYTES = 1 << 18  # read of a column at a time: without this a whole row group, which is often the whole manifest
_DIGEST_BYTES = 1 << 20


def read_rows(paths: Sequence[ManifestPlace]) -> Iterator[RawRow]:
    """Read the rows of all files in order; raise `ManifestError` where a file can't be read on."""
    for path in paths:
        yield from _rows_of(path)


def digest_of(paths: Sequence[ManifestPlace]) -> str:
    """Return the SHA-256 of the manifest, 64 hex digits.

    One file has the digest of its bytes, several the digest of their digests, so that where one ends matters.
    """
    digests = [_file_digest(path) for path in paths]
    return digests[0].hex() if len(digests) == 1 else sha256(b"".join(digests)).hexdigest()


def _file_digest(path: ManifestPlace) -> bytes:
    digest = sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_DIGEST_BYTES):
                digest.update(block)
    except OSError as error:
        raise trouble(path, error) from error
    return digest.digest()


def _rows_of(path: ManifestPlace) -> Iterator[RawRow]:
    """Choose the reader by the name's ending, below a compression's."""
    is_compressed = path.suffix.lower() in COMPRESSIONS
    ending = Path(path.stem if is_compressed else path.name).suffix.lower()
    if ending in DELIMITERS:
        return _delimited_rows(path, DELIMITERS[ending])
    if ending in JSON_LINES:
        return _json_rows(path)
    if ending == ".parquet" and not is_compressed:
        return _parquet_rows(path)
    raise ManifestError(f"{shown_path(path)} is of a format that is not read here; allowed are {ALLOWED}.")


def _delimited_rows(path: ManifestPlace, delimiter: str) -> Iterator[RawRow]:
    """Read CSV or TSV; strictly, since a misplaced quote would silently join cells or rows."""
    csv.field_size_limit(LONGEST_LINE)
    lines = Lines(path)
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    names = _header(path, reader, delimiter)
    file, width = shown_path(path), len(names)
    while True:
        lines.taken.clear()
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.ended:
                raise ManifestError(
                    f"{file}: the quoted cell that begins on line {line} is not closed before the file ends."
                ) from error
            text = "".join(lines.taken)
            allowed = f'cells as CSV quotes them: "…" around a cell, "" for a quote inside ({error})'
            yield RawRow(file, line, fault=Fault("row", text, allowed), text=text)
            continue
        if len(cells) == width and not lines.is_broken:
            yield RawRow(file, line, dict(zip(names, cells, strict=False)))
        elif cells:
            yield RawRow(file, line, fault=_cell_fault(names, cells), text="".join(lines.taken))
        lines.is_broken = False


def _header(path: ManifestPlace, reader: Iterator[list[str]], delimiter: str) -> list[str]:
    """Read the column names; a column without one is called after its place."""
    try:
        cells = next((cells for cells in reader if cells), [])
    except csv.Error as error:
        raise ManifestError(f"{shown_path(path)}: the header can't be read as CSV: {error}.") from error
    names = [cell.strip() or f"column_{place}" for place, cell in enumerate(cells, 1)]
    hint = ""
    if len(names) == 1 and any(other in names[0] for other in ",;\t"):
        hint = f" Its cells are to be separated by {'commas' if delimiter == ',' else 'tabs'}."
    _check_columns(path, names, hint)
    return names


def _check_columns(path: ManifestPlace, names: Sequence[str], hint: str = "") -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ManifestError(f"{shown_path(path)} has two columns named {twice!r}; rename or remove one of them.")
    if not any(name in VIDEO_COLUMNS for name in names):
        found = ", ".join(repr(name) for name in names)[:500]
        raise ManifestError(
            f"{shown_path(path)} needs a column video_url or video_urls; its columns are {found}.{hint}"
        )


def _cell_fault(names: Sequence[str], cells: Sequence[object]) -> Fault:
    """Say what is wrong with a row: a cell too many, one too few, or one that is no UTF-8."""
    width = len(names)
    allowed = f"{width} cells, as in the header; this row has {len(cells)}"
    if len(cells) > width:
        return Fault(f"column {width + 1}", cells[width], allowed)
    if len(cells) < width:
        return Fault(names[len(cells)], "nothing", allowed)
    for name, cell in zip(names, cells, strict=True):
        if isinstance(cell, str) and not _is_unicode(cell):
            return Fault(name, cell, "text in UTF-8")
    return Fault("row", "bytes that are no UTF-8", "text in UTF-8")


def _is_unicode(text: str) -> bool:
    """Tell whether the text was UTF-8 in its file: bytes that were not are kept as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_rows(path: ManifestPlace) -> Iterator[RawRow]:
    file = shown_path(path)
    for line, written in enumerate(raw_lines(path), 1):
        try:
            values = orjson.loads(written)
        except orjson.JSONDecodeError as error:
            if written.strip():
                yield _unread(file, line, written, f"valid JSON, the whole row on one line ({error})")
            continue
        if isinstance(values, dict):
            yield RawRow(file, line, values)
        else:
            yield _unread(file, line, written, 'a JSON object such as {"video_url": "https://…"}')


def _unread(file: str, line: int, written: bytes, allowed: str) -> RawRow:
    text = written.decode("utf-8", "surrogateescape")
    fault = Fault("row", text, allowed if _is_unicode(text) else "text in UTF-8")
    return RawRow(file, line, fault=fault, text=text)


def _parquet_rows(path: ManifestPlace) -> Iterator[RawRow]:
    file, row = shown_path(path), 0
    try:
        path.open("rb").close()
        with parquet.ParquetFile(file_of(path), buffer_size=PARQUET_BYTES, pre_buffer=False) as source:
            names = source.schema_arrow.names
            _check_columns(path, names)
            for batch in source.iter_batches(batch_size=PARQUET_ROWS, use_threads=False):
                broken: set[int] = set()
                columns = [_typed_cells(column, broken) for column in batch.columns]
                for place, cells in enumerate(zip(*columns, strict=True)):
                    row += 1
                    fault = _cell_fault(names, cells) if place in broken else None
                    yield RawRow(file, row, dict(zip(names, cells, strict=True)), fault)
    except pa.ArrowException as error:
        raise ManifestError(
            f"{file} is damaged or no Parquet file (read as far as row {row}): {error}. Write it again."
        ) from error
    except OSError as error:
        raise trouble(path, error) from error


def _typed_cells(column: pa.Array, broken: set[int]) -> list[object]:
    """Return a column's cells as Python values, dates and decimals as text; note rows with text that is no UTF-8."""
    types, kind = pa.types, column.type
    if types.is_dictionary(kind):
        column = column.dictionary_decode()
    elif types.is_duration(kind):
        column = column.cast(pa.int64())
    elif types.is_temporal(kind) or types.is_decimal(kind):
        column = column.cast(pa.string())
    try:
        cells: list[object] = column.to_pylist()
    except UnicodeDecodeError:
        cells = [_text(cell) for cell in column.cast(pa.large_binary()).to_pylist()]
        broken.update(place for place, cell in enumerate(cells) if isinstance(cell, str) and not _is_unicode(cell))
    if types.is_binary(kind) or types.is_large_binary(kind):
        # Many writers store text without saying that it is text; bytes that are none stay bytes.
        texts = [_text(cell) for cell in cells]
        return [text if text is None or _is_unicode(text) else cell for text, cell in zip(texts, cells, strict=True)]
    return cells


def _text(cell: object) -> str | None:
    return cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else None
