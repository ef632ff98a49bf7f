import pytest

from pipeline.cli.preparing import Question, begin, prepare
from pipeline.core.errors import RunConflict
from pipeline.core.lead import moved, place_of
from pipeline.core.requests import Defaults
from pipeline.edges.out_folder import OutFolder

BEGUN = {"place": "redis://one:6379/0", "identity": "a"}


@pytest.mark.parametrize(
    ("place", "identity", "is_another"),
    [
        ("redis://one:6379/0", "a", False),
        ("redis://one:6379/0", "b", False),
        ("redis://alias:6379/0", "a", False),
        ("redis://two:6379/0", "b", True),
    ],
    ids=["the same", "emptied", "another name of the same", "another one"],
)
def test_a_run_goes_on_in_its_own_ledger_or_in_the_one_that_took_its_place(place, identity, is_another):
    assert moved(BEGUN, place, identity) is is_another
    assert not moved({}, place, identity)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://user:secret@host:6380/1", "redis://host:6380/1"),
        ("unix:///run/user/1/s", "unix:///run/user/1/s"),
        ("rediss://:secret@host", "rediss://host"),
    ],
)
def test_a_ledgers_place_is_told_without_its_password(url, place):
    assert place_of(url) == place


def test_a_run_that_another_ledger_has_is_refused_with_what_to_do(tmp_path):
    manifest = tmp_path / "videos.csv"
    manifest.write_text("video_url,prompt\nhttps://x.example/1.mp4,Describe.\n")
    question = Question((manifest,), Defaults(), "https://api.example", None)
    prepared = prepare(question, OutFolder(tmp_path / "out"), prices={}, strict=False, progress=None)
    begin(prepared, "redis://one:6379/0", "a")
    begin(prepared, "redis://one:6379/0", "b")
    with pytest.raises(RunConflict, match=r"was begun with the ledger at redis://one:6379/0.*remove .*begun"):
        begin(prepared, "unix:///home/me/s", "c")
