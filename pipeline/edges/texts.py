"""Text files as lines, whatever compresses them, in bounded memory.

The second half of the door to manifests: it opens, decompresses and cuts into lines, and turns every way in which
that can fail into one `ManifestError`. It never looks into a line.
"""

import gzip
import io
import zlib
from collections.abc import Iterator

import zstandard

from pipeline.core.errors import ManifestError
from pipeline.edges.stored_manifest import ManifestPlace

COMPRESSIONS = (".gz", ".zst")
LONGEST_LINE = 64 << 20  # bytes; a file without line ends must not fill the memory
_BLOCK = 1 << 18
_ZSTD_BLOCK = 1 << 13  # one block of a bomb stays under a few dozen MB
_UTF8_BOM = b"\xef\xbb\xbf"
_OTHER_KINDS = (  # how a file begins that is not what its name says
    (b"\xff\xfe", "is in UTF-16 or UTF-32, not UTF-8; save it as UTF-8"),
    (b"\xfe\xff", "is in UTF-16 or UTF-32, not UTF-8; save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "is in UTF-32, not UTF-8; save it as UTF-8"),
    (b"\x1f\x8b", "holds gzip data; let its name end in .gz"),
    (b"\x28\xb5\x2f\xfd", "holds zstd data; let its name end in .zst"),
    (b"PAR1", "holds Parquet data; let its name end in .parquet"),
    (b"PK\x03\x04", "holds a ZIP archive or a spreadsheet; export it as CSV in UTF-8"),
)


class Lines:
    """The decoded lines of a file, with what a CSV reader can't tell of them.

    `taken` holds the lines handed out since somebody cleared it. `is_broken` turns true with a line that is no UTF-8;
    its bad bytes are then lone surrogates. `ended` is true once the last line was passed.
    """

    def __init__(self, path: ManifestPlace) -> None:
        self._path = path
        self.taken: list[str] = []
        self.is_broken = False
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        """Hand out line after line, their ends included: LF, CRLF or CR."""
        take = self.taken.append
        for block in _whole_lines(self._path, b"\n", b"\r"):
            try:
                lines: Iterator[str] = io.StringIO(block.decode(), newline="")
            except UnicodeDecodeError:
                lines = self._marked(block)
            for line in lines:
                take(line)
                yield line
        self.ended = True

    def _marked(self, block: bytes) -> Iterator[str]:
        for line in io.StringIO(block.decode("utf-8", "surrogateescape"), newline=""):
            self.is_broken = self.is_broken or _has_surrogates(line)
            yield line


def raw_lines(path: ManifestPlace) -> Iterator[bytes]:
    """Hand out the lines of a file as bytes, without their LF."""
    for block in _whole_lines(path, b"\n"):
        yield from block.removesuffix(b"\n").split(b"\n")


def shown_path(path: ManifestPlace) -> str:
    """Return a path as text that every file and terminal takes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def trouble(path: ManifestPlace, error: OSError) -> ManifestError:
    """Return the sentence for a file that the system does not let us read."""
    shown = shown_path(path)
    match error:
        case FileNotFoundError():
            return ManifestError(f"{shown} does not exist; check the path.")
        case IsADirectoryError():
            return ManifestError(f"{shown} is a folder; name the manifest files in it.")
        case PermissionError():
            return ManifestError(f"{shown} may not be read by this user; change its permissions.")
        case _:
            return ManifestError(f"{shown} can't be read: {error.strerror or error}.")


def _has_surrogates(line: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in line)


def _whole_lines(path: ManifestPlace, *line_ends: bytes) -> Iterator[bytes]:
    """Cut a file's bytes into blocks that end where a line ends; the first one without its byte-order mark."""
    rest = b""
    is_first = True
    for block in _blocks(path):
        rest += block
        # A CR that ends the block may be half of a CRLF.
        cut = next((at + 1 for end in line_ends if (at := rest.rfind(end, 0, -1 if end == b"\r" else None)) >= 0), 0)
        if not cut and len(rest) <= LONGEST_LINE:
            continue
        if not cut:
            raise ManifestError(f"{shown_path(path)} has a line of more than {LONGEST_LINE >> 20} MB.")
        if is_first:
            yield _checked_start(path, rest[:cut])
        else:
            yield rest[:cut]
        is_first, rest = False, rest[cut:]
    if rest:
        yield _checked_start(path, rest) if is_first else rest
    elif is_first:
        raise ManifestError(f"{shown_path(path)} is empty; it needs at least one row.")


def _checked_start(path: ManifestPlace, block: bytes) -> bytes:
    """Return the first lines without a byte-order mark; raise `ManifestError` if they are no UTF-8 text at all."""
    for mark, what in _OTHER_KINDS:
        if block.startswith(mark):
            raise ManifestError(f"{shown_path(path)} {what}.")
    text = block.removeprefix(_UTF8_BOM)
    first_line = text.partition(b"\n")[0]
    if not text.strip():
        raise ManifestError(f"{shown_path(path)} is empty; it needs at least one row.")
    try:
        first_line.decode()
    except UnicodeDecodeError:
        raise ManifestError(f"{shown_path(path)} is not UTF-8 text; save it as UTF-8.") from None
    if b"\0" in first_line:
        raise ManifestError(f"{shown_path(path)} is not UTF-8 text, its first line has NUL bytes; save it as UTF-8.")
    return text


def _blocks(path: ManifestPlace) -> Iterator[bytes]:
    """Read and decompress a file block by block, and translate every way in which that fails."""
    lines = 0
    try:
        with path.open("rb") as file:
            for block in _decompressed(path, file):
                lines += block.count(b"\n")
                yield block
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError, EOFError) as error:
        raise ManifestError(
            f"{shown_path(path)} is damaged or cut off after line {lines}: {error}. Compress or copy it again."
        ) from error
    except OSError as error:
        raise trouble(path, error) from error


def _decompressed(path: ManifestPlace, file: io.BufferedReader) -> Iterator[bytes]:
    ending = path.suffix.lower()
    if ending == ".zst":
        yield from _unzstd(file)
        return
    plain = gzip.GzipFile(fileobj=file) if ending == ".gz" else file
    # read1 hands over what precedes a damaged place, where read would throw it away with the error.
    while block := plain.read1(_BLOCK):
        yield block


def _unzstd(file: io.BufferedReader) -> Iterator[bytes]:
    """Decompress frame after frame; the library's own reader passes over a file that was cut off in silence."""
    decompressor = zstandard.ZstdDecompressor()
    frame = None
    while block := file.read(_ZSTD_BLOCK):
        while block:
            frame = frame or decompressor.decompressobj()
            if text := frame.decompress(block):
                yield text
            block = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the zstd data ends too early")
