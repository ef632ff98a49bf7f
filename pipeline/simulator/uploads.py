"""`POST /v1/files/upload/stream`: files that are kept on disk for a while, and served under their url."""

import re
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.simulator.distortions import server_error
from pipeline.simulator.faults import UploadFault, happens
from pipeline.simulator.files import file_answer
from pipeline.simulator.media import CONTENT_TYPES
from pipeline.simulator.messages import Answer, Request, kind
from pipeline.simulator.multipart import FileReader, NotMultipart, boundary_of
from pipeline.simulator.state import State, as_json, refused
from pipeline.simulator.validation import Refusal

UPLOAD_PATH = "/v1/files/upload/stream"
FILES_PREFIX = "/files/"

# What a form has around its file.
_FORM_BYTES = 1 << 16
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_OWN_URL = re.compile(r"https?://[^/?#]+/files/(file-[0-9a-f]{16})\.[a-z0-9]{1,8}", re.IGNORECASE)
_NO_FILE = Refusal(404, "not_found", "There is no such file, or it has expired.")


@dataclass(frozen=True, slots=True)
class Kept:
    """One uploaded file; `at` is the clock's seconds of its arrival."""

    id: str
    filename: str
    suffix: str
    path: Path
    size: int
    sha256: str
    at: float

    @property
    def url_path(self) -> str:
        """The path under which it is served."""
        return f"{FILES_PREFIX}{self.id}{self.suffix}"


class Upload:
    """One body that comes in: its file is on disk as far as it came."""

    def __init__(self, folder: Path, content_type: str, most_bytes: int) -> None:
        self.most_bytes = most_bytes + _FORM_BYTES
        self.path = folder / f"{secrets.token_hex(8)}.part"
        self.problem = ""
        self._reader: FileReader | None = None
        self.sha256 = ""
        try:
            self._reader = FileReader(boundary_of(content_type), self._open)
        except NotMultipart as error:
            self.problem = str(error)

    def _open(self) -> BinaryIO:
        return self.path.open("wb")

    def take(self, data: bytes) -> None:
        """Write on; a body that is no form is passed over to its end."""
        if self._reader is None or self.problem:
            return
        try:
            self._reader.feed(data)
        except NotMultipart as error:
            self.problem = str(error)

    def whole(self) -> FileReader | None:
        """Return what was read of a whole form; None where there is a problem."""
        if self._reader is not None and not self.problem:
            try:
                self.sha256 = self._reader.end()
            except NotMultipart as error:
                self.problem = str(error)
            else:
                self._reader.close()
                return self._reader
        self.drop()
        return None

    def drop(self) -> None:
        """Forget the file."""
        if self._reader is not None:
            self._reader.close()
        self.path.unlink(missing_ok=True)


class Uploads:
    """The files that were uploaded, and their route."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._kept: dict[str, Kept] = {}
        self._came = 0

    def intake(self, request: Request) -> Upload | None:
        """Return who takes the body of a request whose head has come; None where it is none of an upload."""
        if request.path != UPLOAD_PATH or request.method != "POST" or self._state.locked(request) is not None:
            return None
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="vidbatch-simulator-")
        return Upload(Path(self._folder.name), request.content_type, self._state.settings.max_video_bytes)

    def handle(self, request: Request) -> Answer:
        """Answer one upload whose body has come, and count it."""
        answer = self._keep(request)
        self._state.traffic.upload_answers[kind(answer)] += 1
        return answer

    def _keep(self, request: Request) -> Answer:
        state = self._state
        locked = state.locked(request)
        if locked is not None:
            return locked
        upload = request.intake
        if not isinstance(upload, Upload):
            return refused(Refusal(400, "invalid_request_error", "The body must be multipart/form-data."))
        self._came += 1
        dice = state.generations.dice(f"upload/{self._came}")
        fault = next((fault for fault in UploadFault if happens(fault, state.settings, dice)), None)
        if fault is not None:
            upload.drop()
            state.traffic.faults[fault.value] += 1
            return state.throttled() if fault is UploadFault.THROTTLE else server_error(state.settings.error_status)
        read = upload.whole()
        if read is None:
            return refused(Refusal(422, "invalid_request_error", upload.problem, "invalid_param"))
        return self._told(self._add(upload, read), request)

    def _add(self, upload: Upload, read: FileReader) -> Kept:
        self._forget_expired()
        suffix = Path(read.filename).suffix.lower()
        kept = Kept(
            id=f"file-{secrets.token_hex(8)}",
            filename=read.filename,
            suffix=suffix if _SUFFIX.fullmatch(suffix) else ".bin",
            path=upload.path,
            size=read.size,
            sha256=upload.sha256,
            at=self._state.clock(),
        )
        self._kept[kept.id] = kept
        return kept

    def _told(self, kept: Kept, request: Request) -> Answer:
        relative = self._state.settings.upload_url_relative
        return as_json(
            {
                "id": kept.id,
                "filename": kept.filename,
                "url": kept.url_path if relative else f"http://{request.host}{kept.url_path}",
                "size": kept.size,
                "created": int(kept.at + self._state.generations.books.epoch),
            }
        )

    def _forget_expired(self) -> None:
        latest = self._state.clock() - self._state.settings.upload_kept
        for kept in [kept for kept in self._kept.values() if kept.at < latest]:
            del self._kept[kept.id]
            kept.path.unlink(missing_ok=True)

    def serve(self, request: Request) -> Answer:
        """Answer with a file."""
        self._forget_expired()
        name, dot, suffix = request.path[len(FILES_PREFIX) :].partition(".")
        kept = self._kept.get(name)
        if kept is None or kept.suffix != dot + suffix:
            return refused(_NO_FILE)
        content_type = CONTENT_TYPES.get(kept.suffix, "application/octet-stream")
        return file_answer(kept.path, request.range, content_type)

    def path_of(self, url: str) -> Path | None:
        """Return where the file of one of our own URLs is; None for any other URL. Ids can't be guessed."""
        match = _OWN_URL.fullmatch(url)
        kept = self._kept.get(match[1]) if match else None
        return kept.path if kept else None

    def rows(self) -> list[dict[str, Any]]:
        """Return what is kept, in the order of arrival, as the admin endpoint shows it."""
        self._forget_expired()
        return [
            {"id": kept.id, "filename": kept.filename, "size": kept.size, "sha256": kept.sha256, "path": kept.url_path}
            for kept in self._kept.values()
        ]

    def reset(self) -> None:
        """Forget every file."""
        for kept in self._kept.values():
            kept.path.unlink(missing_ok=True)
        self._kept.clear()

    def close(self) -> None:
        """Remove what is on disk."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
