"""What a worker's child needs to send videos that are no plain URLs; made where a run has some."""

from pipeline.core.account import account_id, key_fingerprint
from pipeline.core.modes import FOXAPI
from pipeline.core.policy import Policy
from pipeline.edges.clock import unix_seconds
from pipeline.edges.http import HttpDoor
from pipeline.edges.http_probe import Probe
from pipeline.edges.inline_videos import InlineVideos
from pipeline.edges.media_files import MediaFiles
from pipeline.edges.places import out_place
from pipeline.edges.preflight import Preflight
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_uploads import RedisUploads
from pipeline.edges.sending_slots import SendingSlots
from pipeline.edges.sent_files import SentFiles
from pipeline.edges.shared_uploads import SharedUploads
from pipeline.edges.uploader import Uploader
from pipeline.edges.video_hashes import VideoHashes
from pipeline.edges.videos import SendsVideos, Uploading, VideoApi
from pipeline.ports import Api, Clock, RunCard
from workers.settings import WorkerSettings


class Videos:
    """What all runs of one process share: the slots, what was hashed, and who uploads."""

    def __init__(self, settings: WorkerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._files = MediaFiles(settings.media_roots)
        self._hashes = VideoHashes()
        self._slots = SendingSlots()
        self._uploads: RedisUploads | None = None
        self._shared: SharedUploads | None = None
        self._probes: list[Probe] = []
        self._ahead: dict[float, Preflight] = {}

    def over(self, api: SendsVideos, card: RunCard, door: HttpDoor) -> Api:
        """The API of a run that sends its videos; `door` is for uploads."""
        inline = InlineVideos(out_place(card.out) / "runs" / card.run_id)
        files = SentFiles(
            self._files, inline, self._hashes, card.policy.max_duration_s if card.policy.preflight else 0.0
        )
        uploading = self._uploading(card, door) if card.api == FOXAPI else None
        return VideoApi(api, files, card.policy, self._slots, uploading=uploading, ahead=self._looks_ahead(card.policy))

    def _looks_ahead(self, policy: Policy) -> Preflight | None:
        """Made once for a bound: what it saw is known to all rows."""
        if not policy.preflight:
            return None
        longest = policy.max_duration_s
        if longest not in self._ahead:
            self._probes.append(Probe(bytes_too=longest > 0))
            self._ahead[longest] = Preflight(self._probes[-1], unix_seconds, longest)
        return self._ahead[longest]

    def _uploading(self, card: RunCard, door: HttpDoor) -> Uploading | None:
        key = self._settings.key
        if key is None:
            return None
        if self._uploads is None or self._shared is None:
            self._uploads = RedisUploads(RedisDoor(self._settings.redis_url))
            self._shared = SharedUploads(self._uploads, self._clock)
        account = account_id(card.base_url, key_fingerprint(key.reveal()))
        uploader = Uploader(card.base_url, key, door, clock=unix_seconds)
        return Uploading(uploader, self._shared, account)

    async def close(self) -> None:
        """Close the connections."""
        for probe in self._probes:
            await probe.close()
        if self._uploads is not None:
            await self._uploads.close()
