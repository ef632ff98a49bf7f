"""Uploads files to FoxAPI's store: one multipart POST each, made while it is sent."""

from collections.abc import Callable
from uuid import uuid4

from pipeline.core.account import Secret, checked_base_url
from pipeline.core.answers import NothingSent, Problem, SubmitAnswer
from pipeline.core.polling import LONGEST_RETRY_AFTER_S
from pipeline.core.reading_uploads import read_upload
from pipeline.edges.http import DoorError, HttpDoor
from pipeline.edges.http_transport import JSON, headers_with
from pipeline.edges.masking import Masking
from pipeline.edges.payload import Payload, RawVideo


class Uploader:
    """The store at `base_url`, used with one key; `clock` tells unix seconds, for `Retry-After` dates."""

    def __init__(self, base_url: str, key: Secret, door: HttpDoor, *, clock: Callable[[], float]) -> None:
        self._base_url = checked_base_url(base_url)
        self._door = door
        self._clock = clock
        self._key = key
        self._mask = Masking(key)
        self._boundary = f"vidbatch-{uuid4().hex}"
        self._headers = headers_with(key, JSON, f"multipart/form-data; boundary={self._boundary}")

    async def upload(self, name: str, media_type: str, video: RawVideo) -> str | SubmitAnswer:
        """Where the file lies from now on, or what becomes of its row instead."""
        head = (
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: {media_type}\r\n\r\n"
        )
        body = Payload([head.encode(), video, f"\r\n--{self._boundary}--\r\n".encode()])
        try:
            reply = await self._door.post(f"{self._base_url}/v1/files/upload/stream", self._headers, body)
        except DoorError as error:
            return NothingSent(self._mask.problem(error.problem))
        # where a file lies is needed as it is: a signature in it is not masked
        masked = reply if reply.status < 300 else self._mask.reply(reply)  # noqa: PLR2004 - the HTTP classes
        told = read_upload(
            masked.status,
            masked.headers,
            masked.body,
            self._base_url,
            now=self._clock(),
            longest_retry_after=LONGEST_RETRY_AFTER_S,
        )
        if not isinstance(told, str):
            return self._mask.answer(told)
        if self._key.reveal() in told:
            return NothingSent(Problem("upload_bad_answer", "The upload's answer has the key in its url.", None, 200))
        return told
