"""The disk is full, the output folder is read-only, and writers die around the rename that makes a file be there."""

from pipeline.faultlab import processes
from pipeline.faultlab.fault import Family, Fault
from pipeline.faultlab.stage import Stage

PARTS, PUBLISHED, MARKER = "/parts/", "/annotations/", "done.json"
SYSTEM_TROUBLE = 5


async def _die(stage: Stage, when: str, path: str) -> None:
    await stage.mid_run()
    stage.struck(await stage.moment(1))
    stage.sabotage(kill=when, path=path)
    await stage.until(stage.order_is_taken, f"a process dies {when} the rename in {path}")


async def _die_before_a_part(stage: Stage) -> None:
    await _die(stage, "before", PARTS)


async def _die_after_a_part(stage: Stage) -> None:
    await _die(stage, "after", PARTS)


async def _die_before_publishing(stage: Stage) -> None:
    await _die(stage, "before", PUBLISHED)


async def _die_after_publishing(stage: Stage) -> None:
    await _die(stage, "after", PUBLISHED)


async def _die_after_the_marker(stage: Stage) -> None:
    await _die(stage, "after", MARKER)


async def _fill_disk(stage: Stage, path: str) -> None:
    """The run pauses and the command ends; then there is room again."""
    await stage.mid_run()
    stage.struck(await stage.moment())
    stage.sabotage(no_space=path)
    if (code := await stage.ended()) != SYSTEM_TROUBLE:
        stage.complaints.append(f"with a full disk the command ended with {code} instead of {SYSTEM_TROUBLE}")
    stage.lift()


async def _fill_disk_at_a_part(stage: Stage) -> None:
    await _fill_disk(stage, PARTS)


async def _fill_disk_at_publishing(stage: Stage) -> None:
    await _fill_disk(stage, PUBLISHED)


async def _forbid_writing(stage: Stage) -> None:
    """A clear refusal before anything is sent; then the folder is opened and the command repeated."""
    stage.out.mkdir(mode=0o500)
    command = stage.start((*processes.SABOTAGE, "command"))
    code = await stage.ended()
    if code != SYSTEM_TROUBLE or str(stage.out) not in command.said:
        stage.complaints.append(f"a read-only OUT was not refused clearly: exit code {code}, {command.said!r}")
    if (await stage.books.summary())["posts_received"]:
        stage.complaints.append("something was sent although OUT is read-only")
    stage.out.chmod(0o700)


FAULTS = (
    Fault(
        "writer-killed-before-rename",
        Family.DISK,
        "the writer dies right before a part takes its place",
        _die_before_a_part,
        fleet=True,
        program=processes.SABOTAGE,
    ),
    Fault(
        "writer-killed-after-rename",
        Family.DISK,
        "the writer dies right after a part took its place, before the ledger knows",
        _die_after_a_part,
        fleet=True,
        program=processes.SABOTAGE,
    ),
    Fault(
        "publisher-killed-before-rename",
        Family.DISK,
        "publishing dies right before the dataset's file takes its place",
        _die_before_publishing,
        fleet=True,
        program=processes.SABOTAGE,
    ),
    Fault(
        "publisher-killed-after-rename",
        Family.DISK,
        "publishing dies right after the dataset's file took its place",
        _die_after_publishing,
        fleet=True,
        program=processes.SABOTAGE,
    ),
    Fault(
        "marker-killed-after-rename",
        Family.DISK,
        "finalizing dies right after the done marker took its place",
        _die_after_the_marker,
        fleet=True,
        program=processes.SABOTAGE,
    ),
    Fault(
        "disk-full-part",
        Family.DISK,
        "the disk is full when a part is written; later there is room",
        _fill_disk_at_a_part,
        fleet=True,
        program=processes.SABOTAGE,
    ),
    Fault(
        "disk-full-publishing",
        Family.DISK,
        "the disk is full when the dataset is published; later there is room",
        _fill_disk_at_publishing,
        fleet=True,
        program=processes.SABOTAGE,
    ),
    Fault(
        "out-read-only",
        Family.DISK,
        "the output folder can't be written at the start",
        _forbid_writing,
    ),
)
