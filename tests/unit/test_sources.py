"""Which videos a row may name."""

import pytest

from pipeline.core.cells import UnfitError
from pipeline.core.sources import videos_of

GEMINI = "gemini-2.5-pro"
ONE = "https://videos.example.com/1.mp4"
TWO = "https://videos.example.com/2.mov"


def videos(model=GEMINI, **raw):
    return videos_of(raw, model)


def unfit(model=GEMINI, **raw):
    with pytest.raises(UnfitError) as caught:
        videos_of(raw, model)
    return caught.value.fault


@pytest.mark.parametrize(
    "url",
    [
        ONE,
        "http://videos.example.com:8080/a/b.webm",
        "https://videos.example.com/a.MP4?signature=a%20b&x=1",
        "HTTPS://Videos.Example.com/a.mpeg#t=10",
        "https://videos.example.com/a.mpg?x=y",
        "https://видео.example/фильм.mp4",
        "https://[2001:db8::1]/a.mp4",
        "https://videos.example.com/a@b.mp4",
    ],
)
def test_a_direct_file_is_sent_as_it_was_written(url):
    assert videos(video_url=url) == (url,)


@pytest.mark.parametrize(
    "url",
    [
        "https://videos.example.com/a.avi",
        "https://videos.example.com/a.mp4/",
        "https://videos.example.com/watch?file=a.mp4",
        "https://videos.example.com",
        "https:///a.mp4",
        "https://videos.example.com:99999/a.mp4",
        "https://vid eos.example.com/a.mp4",
        "https://videos.example.com/a b.mp4",
        "https://videos.example.com/a\u200b.mp4",
        "https://videos.example.com/a\n.mp4",
        "https://videos.example.com\\evil/a.mp4",
        "https://[::1/a.mp4",
        "ftp://videos.example.com/a.mp4",
        "//videos.example.com/a.mp4",
        "/videos/a.mp4",
        "C:\\videos\\a.mp4",
        "file:///a.mp4",
        "s3://bucket/a.avi",
        "nonsense",
    ],
)
def test_what_is_no_public_video_url_is_a_fault(url):
    fault = unfit(video_url=url)
    assert fault.field == "video_url"
    assert fault.found == url


def test_a_password_in_a_url_is_a_fault_that_does_not_show_it():
    fault = unfit(video_url="https://me:secret@videos.example.com/a.mp4")
    assert fault.found == "https://***@videos.example.com/a.mp4"
    assert "password" in fault.allowed


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        "https://youtube.com/watch?t=5&v=dQw4w9WgXcQ",
        "https://m.youtube.com/watch?v=dQw4w9WgXcQ",
        "https://youtu.be/dQw4w9WgXcQ?t=5",
    ],
)
def test_youtube_is_sent_to_gemini_models_only(url):
    assert videos(video_url=url) == (url,)
    assert "Gemini" in unfit("other-model", video_url=url).allowed


def test_a_youtube_short_is_sent_as_its_watch_page():
    short = "https://youtube.com/shorts/dQw4w9WgXcQ?feature=share"
    assert videos(video_url=short) == ("https://www.youtube.com/watch?v=dQw4w9WgXcQ",)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/playlist?list=PL1",
        "https://www.youtube.com/watch",
        "https://www.youtube.com/watch?v=",
        "https://www.youtube.com/shorts/",
        "https://youtu.be/",
        "https://www.youtube.com/embed/dQw4w9WgXcQ",
    ],
)
def test_a_youtube_page_that_is_no_video_is_a_fault(url):
    assert "watch?v=" in unfit(video_url=url).allowed


@pytest.mark.parametrize("cell", [[ONE, TWO], f'["{ONE}", "{TWO}"]', f"{ONE}|{TWO}", f" {ONE} | {TWO} "])
@pytest.mark.parametrize("column", ["video_url", "video_urls"])
def test_several_videos_are_a_list_however_it_is_written(column, cell):
    assert videos(**{column: cell}) == (ONE, TWO)


@pytest.mark.parametrize(
    "cell", [[], [ONE] * 11, [ONE, 7], [ONE, ""], {"a": ONE}, 7, "[1]", f'["{ONE}"', f"{ONE}||{TWO}", [[ONE]]]
)
def test_a_list_that_is_none_is_a_fault(cell):
    assert unfit(video_urls=cell).field == "video_urls"


def test_ten_videos_are_taken():
    assert len(videos(video_urls=[ONE] * 10)) == 10


def test_a_one_video_model_takes_one_video():
    assert videos("nemotron-3-nano-omni", video_urls=[ONE]) == (ONE,)
    assert unfit("nemotron-3-nano-omni", video_urls=[ONE, TWO]).allowed.startswith("one video")


@pytest.mark.parametrize("raw", [{}, {"video_url": ""}, {"video_url": None, "video_urls": " "}])
def test_a_row_without_a_video_is_a_fault(raw):
    assert unfit(**raw).field == "video_url"


def test_one_of_both_columns_is_used_when_the_other_is_empty():
    assert videos(video_url="", video_urls=ONE) == (ONE,)
    assert videos(video_url=ONE, video_urls=None) == (ONE,)
    assert unfit(video_url=ONE, video_urls=TWO).field == "video_urls"
