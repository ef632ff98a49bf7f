"""What README, quickstart and the how-to pages tell people to type, typed by a shell, block by block.

A reader is given only what the text says that they have: a key, a manifest as it stands there, a Redis.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.documents import blocks
from tests.walkthrough import ROOT, Reader, checkout, walk

KEY = "sk-of-a-reader"
WITHIN_S = 240.0

DRY = {"make": 'case "$1" in demo | test) command make --dry-run "$1" ;; *) command make "$@" ;; esac'}
"""`make test` would begin what runs here anew, and `make demo` has tests of its own: they are only looked up."""


@contextmanager
def simulator(*options: str) -> Iterator[str]:
    """The address of a simulated API that fetches nothing, so that a manifest may name any video."""
    command = [str(Path(sys.executable).with_name("vidbatch")), "simulate", "--port", "0", "--fast", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "ready" in line, line
        yield line.split()[2]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_block_of_the_readme_runs_as_it_stands(redis_url):
    text = text_of("README.md")
    with checkout() as folder, simulator("--latency", "0.2s") as api:
        [manifest] = [block.text for block in blocks(text) if block.language == "csv"]
        (folder / "videos.csv").write_text(manifest, encoding="utf-8")
        has = {"VIDBATCH_BASE_URL": api, "VIDBATCH_API_KEY": KEY}
        newest = 'vidbatch watch "$(ls labels/runs | tail -n 1)"'
        said = walk(
            text, folder, WITHIN_S, Reader(has, {"vidbatch worker": {"VIDBATCH_REDIS": redis_url}}, DRY, newest)
        )
        assert len(list(folder.glob("labels/runs/*/done.json"))) == 3, said


def test_every_block_of_the_quickstart_runs_as_it_stands_and_prints_what_it_says():
    with checkout() as folder:
        walk(text_of("docs/quickstart.md"), folder, WITHIN_S, Reader())
