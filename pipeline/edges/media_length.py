"""How long a video is, as its header tells; nothing is decoded."""

import io
from typing import BinaryIO


def length_of(video: BinaryIO | bytes) -> float | None:
    """Seconds; nothing where the header, or what there is of it, does not tell."""
    import av  # noqa: PLC0415 - loaded only where somebody asks for lengths

    try:
        with av.open(io.BytesIO(video) if isinstance(video, bytes) else video, mode="r") as container:
            if container.duration:
                return float(container.duration / av.time_base)
    except (av.FFmpegError, ValueError, OSError):
        return None
    return None
