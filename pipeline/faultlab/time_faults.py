"""The wall clock of one worker is wrong: no row may be early, late, lost or doubled for it."""

from pipeline.faultlab import processes
from pipeline.faultlab.fault import Family, Fault
from pipeline.faultlab.stage import Stage

HOUR_S = 3600


async def _jump_ahead(stage: Stage) -> None:
    await _jump(stage, HOUR_S)


async def _jump_back(stage: Stage) -> None:
    await _jump(stage, -HOUR_S)


async def _jump(stage: Stage, seconds: int) -> None:
    await stage.mid_run()
    stage.struck(await stage.moment())
    stage.sabotage(clock_s=seconds)


FAULTS = (
    Fault(
        "clock-ahead",
        Family.TIME,
        "the wall clock of one of two workers jumps an hour ahead",
        _jump_ahead,
        fleet=True,
        workers=2,
        program=processes.SABOTAGE,
    ),
    Fault(
        "clock-behind",
        Family.TIME,
        "the wall clock of one of two workers jumps an hour back",
        _jump_back,
        fleet=True,
        workers=2,
        program=processes.SABOTAGE,
    ),
)
