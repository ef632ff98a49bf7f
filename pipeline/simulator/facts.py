"""What can be said about a video by looking at it, without a model.

`measure` decodes; `invented` makes facts up from a URL's hash, for a simulator that downloads nothing.
"""

import io
import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av

# Frames are compared as grey thumbnails of this size: small enough for plain Python, large enough to see a cut.
_THUMBNAIL = (32, 18)
# A cut moves the mean grey level of a pixel by more than this (of 255), and by far more than the motion before it.
_CUT_LEVEL = 20.0
_CUT_RATIO = 4.0
_MOST_FRAMES = 100_000
_USUAL_FPS = 25.0

# docs/foxapi.md §6: one frame a second is looked at.
_TOKENS_PER_FRAME = 258
_TOKENS_PER_AUDIO_SECOND = 32


class NotAVideo(Exception):
    """Bytes that hold no decodable video stream."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One video: seconds, pixels, frames a second, and shots (cuts + 1)."""

    duration_s: float
    width: int
    height: int
    fps: float
    frames: int
    shots: int
    has_audio: bool

    @property
    def video_tokens(self) -> int:
        """Prompt tokens of the pictures."""
        return _TOKENS_PER_FRAME * math.ceil(self.duration_s)

    @property
    def audio_tokens(self) -> int:
        """Prompt tokens of the sound."""
        return _TOKENS_PER_AUDIO_SECOND * math.ceil(self.duration_s) if self.has_audio else 0

    def sentence(self) -> str:
        """Return the facts in words."""
        sound = "with sound" if self.has_audio else "silent"
        return (
            f"{self.duration_s:.2f} s of video, {self.width}x{self.height} at {self.fps:.2f} frames a second, "
            f"{self.frames} frames in {self.shots} shot(s), {sound}."
        )


def invented(seed: bytes) -> Facts:
    """Return facts that follow from nothing but a URL's SHA-256: 2 to 58 s of video, the same every time."""
    fps = (24.0, 25.0, 30.0, 60.0)[seed[0] % 4]
    frames = round((2 + int.from_bytes(seed[1:3], "big") % 560 / 10) * fps)
    width, height = ((640, 360), (1280, 720), (1920, 1080), (720, 1280))[seed[3] % 4]
    return Facts(frames / fps, width, height, fps, frames, 1 + seed[4] % 12, has_audio=seed[5] % 4 > 0)


def measure(video: bytes | Path) -> Facts:
    """Decode a whole video and return its facts; raises NotAVideo. Blocks for as long as decoding takes."""
    try:
        # Opened here, as what opens names itself would also open what a file names.
        with (
            io.BytesIO(video) if isinstance(video, bytes) else video.open("rb") as file,
            av.open(file, "r") as container,
        ):
            if not container.streams.video:
                raise NotAVideo("there is no video stream in it.")
            return _measured(container)
    except (av.error.FFmpegError, ValueError) as error:
        raise NotAVideo(f"it can't be decoded: {type(error).__name__}.") from error


def _measured(container: "av.container.InputContainer") -> Facts:
    stream = container.streams.video[0]
    fps = float(stream.average_rate or stream.guessed_rate or 0) or _USUAL_FPS
    shots = Shots()
    begin, end = math.inf, 0.0
    for frame in islice(container.decode(stream), _MOST_FRAMES):
        shots.see(_thumbnail(frame))
        at = frame.time or 0.0
        begin, end = min(begin, at), max(end, at + 1 / fps)
    if not shots.frames:
        raise NotAVideo("its video stream holds no frame.")
    has_audio = bool(container.streams.audio)
    return Facts(round(end - begin, 3), stream.width, stream.height, fps, shots.frames, shots.count, has_audio)


class Shots:
    """Counts shots in a sequence of grey thumbnails of one size."""

    def __init__(self) -> None:
        self.frames = 0
        self.count = 1
        self._calm = 0.0
        self._before: bytes | None = None

    def see(self, picture: bytes) -> None:
        """Take the next picture: a cut stands out against the motion before it, a fade or a pan does not."""
        moved = 0.0 if self._before is None else _difference(self._before, picture)
        if moved > _CUT_LEVEL and moved > _CUT_RATIO * self._calm:
            self.count += 1
        elif self.frames:
            self._calm = 0.8 * self._calm + 0.2 * moved
        self._before = picture
        self.frames += 1


def _thumbnail(frame: "av.VideoFrame") -> bytes:
    width, height = _THUMBNAIL
    plane = frame.reformat(width, height, "gray8").planes[0]
    rows, stride = memoryview(plane), plane.line_size
    return b"".join(rows[row * stride : row * stride + width] for row in range(height))


def _difference(one: bytes, other: bytes) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)
