"""Draws the shipped clips anew: `python -m pipeline.simulator.make_clips FOLDER`.

They are made here so that nobody needs to ask where they come from: bars, fades and tones, each with known shots.
"""

import math
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av

_WIDTH, _HEIGHT = 160, 90
_SAMPLE_RATE = 48_000
_SAMPLES_A_FRAME = 960

Colour = tuple[int, int, int]
Picture = Callable[[float], bytes]

_DARK = [(20, 24, 60), (70, 20, 30), (10, 60, 40), (40, 40, 40)]
_LIGHT = [(240, 230, 120), (120, 220, 240), (250, 170, 200), (230, 240, 230)]


@dataclass(frozen=True, slots=True)
class Clip:
    """How to draw one clip: `picture` takes seconds and returns packed RGB rows."""

    name: str
    seconds: float
    fps: int
    codec: str
    picture: Picture
    audio_codec: str | None = None
    tone_hz: float = 440.0


def _row(colour: Colour, width: int) -> bytes:
    return bytes(colour) * width


def _bars(shot: int, at: float) -> bytes:
    """Return a picture of vertical bars that move to the right; each shot has its own colours and width."""
    one, other = (_DARK[shot % 4], _LIGHT[shot % 4])
    if shot % 2:
        one, other = other, one
    width = 20 + 8 * (shot % 3)
    offset = int(at * 24)
    line = b"".join(bytes(other if (x + offset) // width % 3 == 0 else one) for x in range(_WIDTH))
    return line * _HEIGHT


def _cuts(every_s: float) -> Picture:
    return lambda at: _bars(int(at / every_s), at)


def _fade(start: Colour, end: Colour, seconds: float) -> Picture:
    def picture(at: float) -> bytes:
        share = at / seconds
        colour = [round(a + (b - a) * share) for a, b in zip(start, end, strict=True)]
        return _row((colour[0], colour[1], colour[2]), _WIDTH) * _HEIGHT

    return picture


CLIPS = (
    Clip("bars-one-cut.mp4", 3.0, 25, "libx264", _cuts(1.5)),
    Clip("bars-three-cuts.mp4", 4.0, 24, "libx264", _cuts(1.0), "aac", 330.0),
    Clip("fade-with-tone.mp4", 2.0, 30, "libx264", _fade((10, 20, 120), (250, 200, 60), 2.0), "aac", 440.0),
    Clip("still.mp4", 1.0, 10, "libx264", lambda _at: _bars(1, 0.0)),
    Clip("bars-one-cut.webm", 3.0, 25, "libvpx", _cuts(1.5)),
    Clip("fade-with-tone.webm", 5.0, 15, "libvpx", _fade((200, 40, 40), (20, 40, 200), 5.0), "libopus", 550.0),
)


def _frames(clip: Clip) -> Iterator[av.VideoFrame]:
    for index in range(round(clip.seconds * clip.fps)):
        frame = av.VideoFrame(_WIDTH, _HEIGHT, "rgb24")
        plane = frame.planes[0]
        rows = clip.picture(index / clip.fps)
        stride = 3 * _WIDTH
        padding = bytes(plane.line_size - stride)
        plane.update(b"".join(rows[at : at + stride] + padding for at in range(0, len(rows), stride)))
        frame.pts = index
        frame.time_base = Fraction(1, clip.fps)
        yield frame


def _tone(clip: Clip) -> Iterator[av.AudioFrame]:
    for first in range(0, round(clip.seconds * _SAMPLE_RATE), _SAMPLES_A_FRAME):
        times = (2 * math.pi * clip.tone_hz * at / _SAMPLE_RATE for at in range(first, first + _SAMPLES_A_FRAME))
        frame = av.AudioFrame(format="s16", layout="mono", samples=_SAMPLES_A_FRAME)
        frame.planes[0].update(array("h", (round(6000 * math.sin(angle)) for angle in times)).tobytes())
        frame.sample_rate, frame.pts, frame.time_base = _SAMPLE_RATE, first, Fraction(1, _SAMPLE_RATE)
        yield frame


def draw(clip: Clip, folder: Path) -> Path:
    """Encode one clip into the folder and return its path."""
    path = folder / clip.name
    with av.open(str(path), "w") as container:
        stream = cast("Any", container.add_stream(clip.codec, rate=clip.fps))
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = _WIDTH, _HEIGHT, "yuv420p", 60_000
        sound = cast("Any", container.add_stream(clip.audio_codec, rate=_SAMPLE_RATE)) if clip.audio_codec else None
        if sound is not None:
            sound.layout, sound.bit_rate = "mono", 24_000
        for frame in _frames(clip):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            for samples in _tone(clip):
                container.mux(sound.encode(samples))
            container.mux(sound.encode())
    return path


def main(folder: Path) -> None:
    """Draw every clip into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in CLIPS:
        path = draw(clip, folder)
        sys.stdout.write(f"{path.name}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
