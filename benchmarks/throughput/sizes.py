"""How many rows and how many runs: enough that a figure stands, and that the whole bench takes about an hour."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows and repetitions of each part."""

    repetitions: int = 5
    slow_repetitions: int = 1
    """Of runs that no bar needs five of: baselines that are slow at 8 s latency."""

    vidbatch_rows: int = 50_000
    aiohttp_rows: int = 20_000
    httpx_rows: int = 3_000
    celery_rows: int = 2_000

    in_flight: int = 10_000
    latency: str = "lognormal:8s,0.6"
    vidbatch_latency_rows: int = 30_000
    aiohttp_latency_rows: int = 10_000
    httpx_latency_rows: int = 300
    celery_latency_rows: int = 1_000

    scales: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    done_before_resume: float = 0.99
    in_flight_before_resume: int = 2_000

    plan_rows: int = 1_000_000
    pure_plan_rows: int = 100_000
    helps: int = 21


QUICK = Sizes(
    repetitions=1,
    slow_repetitions=1,
    vidbatch_rows=5_000,
    aiohttp_rows=3_000,
    httpx_rows=300,
    celery_rows=500,
    in_flight=1_000,
    latency="lognormal:2s,0.6",
    vidbatch_latency_rows=4_000,
    aiohttp_latency_rows=3_000,
    httpx_latency_rows=128,
    celery_latency_rows=300,
    scales=(3_000, 10_000),
    done_before_resume=0.5,
    plan_rows=50_000,
    pure_plan_rows=20_000,
    helps=5,
)
"""Everything once and small: whether the bench works, and no figure of it means anything."""
