"""`vidbatch demo`: the main job on this machine, with real clips, a simulated API and the private stack."""

import csv
import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

from pipeline.cli.asking import Question
from pipeline.cli.configuration import Configuration
from pipeline.cli.ending import end, file_lines
from pipeline.cli.operation import Operation
from pipeline.cli.plan_text import plan_lines, summary_lines
from pipeline.cli.preparing import first_rejections, prepare
from pipeline.cli.running import carry_out
from pipeline.cli.screen import Screen
from pipeline.cli.watching import Stopped
from pipeline.core.account import Secret
from pipeline.core.errors import UsageError, VidbatchError
from pipeline.core.policy import Policy
from pipeline.core.requests import Defaults
from pipeline.edges.annotations_file import sample
from pipeline.edges.environment import process_environment
from pipeline.edges.local_simulator import local_simulator
from pipeline.edges.out_folder import OutFolder
from pipeline.simulator.clips import real_clips, shipped_clips

MARK = ".vidbatch-demo"
PROMPTS = (
    "Describe the scene in one sentence.",
    "Is the camera moving? Answer yes or no, then say how.",
    "List the objects that stay in view from start to end.",
    "At which second does the most important change happen?",
    "What would a viewer expect to happen next?",
    "Which colours dominate?",
)
BAD_ROWS = (
    ("http://127.0.0.1:9/clip.avi", "This format is not accepted.", "bad-format", "none"),
    ("", "A row without a video.", "no-video", "none"),
)
LATENCY = "lognormal:2s,0.5"


@click.command(name="demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for the demo's clips, manifest and dataset; an earlier demo there is replaced.",
)
@click.option("--rows", type=click.IntRange(min=1), default=48, show_default=True, help="Good rows of the manifest.")
@click.pass_obj
def command(configuration: Configuration, out: Path, rows: int) -> None:
    """Do the main job here and now: real clips, a simulated API, nothing to pay and nothing to install."""
    clips = _make_room(out)
    with Screen() as screen, local_simulator(["--latency", LATENCY, "--media-folder", str(clips)]) as base_url:
        screen.say(f"simulated API at {base_url}; it downloads and decodes every video as the real one would")
        manifest = out / "manifest.csv"
        _write_manifest(manifest, base_url, sorted(path.name for path in clips.iterdir()), rows)
        code = _annotate(manifest, out / "dataset", base_url, screen, configuration)
    sys.exit(code)


def _make_room(out: Path) -> Path:
    """An empty demo folder with its clips; clips that were fetched before are kept."""
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise UsageError(f"--out {out} holds something that is not a demo; give a folder that does not exist yet")
    shutil.rmtree(out / "dataset", ignore_errors=True)
    clips = out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    try:
        real_clips(clips)
    except VidbatchError as error:
        click.echo(f"{error} Going on with the shipped ones.", err=True)
        for clip in shipped_clips():
            shutil.copy(clip, clips)
    return clips


def _write_manifest(path: Path, base_url: str, clips: list[str], rows: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["video_url", "prompt", "id", "clip"])
        for number in range(rows):
            clip = clips[number % len(clips)]
            prompt = PROMPTS[(number // len(clips)) % len(PROMPTS)]
            name = f"{Path(clip).stem}-{number:03}"
            writer.writerow([f"{base_url}/media/{clip}?take={number // len(clips)}", prompt, name, clip])
        writer.writerows(BAD_ROWS)


def _annotate(manifest: Path, dataset: Path, base_url: str, screen: Screen, configuration: Configuration) -> int:
    question = Question((manifest,), Defaults(), base_url, None)
    prepared = prepare(question, OutFolder(dataset), prices=configuration.prices, strict=False, progress=None)
    rejections = first_rejections(prepared.folder, len(BAD_ROWS))
    for line in plan_lines(prepared.described, rejections, str(prepared.folder.path / "rejects.parquet")):
        screen.say(line)
    with tempfile.TemporaryDirectory(prefix="vidbatch-") as state:
        operation = Operation(
            redis_url=None,
            workers=1,
            policy=Policy(poll="steps:1s,1s,2s"),
            detach=False,
            key=Secret(f"sk-demo-{os.getpid()}-not-a-secret"),
            environment={**process_environment(), "VIDBATCH_STATE": state},
        )
        stop = carry_out(prepared, operation, screen)
    if stop.why is not Stopped.FINISHED:
        return end(stop, prepared, screen, as_json=False)
    summary = prepared.folder.summary() or {}
    for row in sample(prepared.folder.published, 2):
        screen.say(f"e.g. {row['row_id']}: {row['content']}")
    told = summary_lines(prepared.described, summary, str(dataset))
    for line in (*told, *file_lines(prepared.folder, summary)):
        screen.say(line)
    return 0 if summary["outcomes"]["completed"] == prepared.described["requests"] else 1
