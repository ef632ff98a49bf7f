"""What a look at a URL means: worth its POST or not."""

import pytest

from pipeline.core.preflight import Looked, expires_at, is_enough, trouble_in

NOW = 1_800_000_000.0
MP4 = b"\0\0\0\x18ftypisom" + b"v" * 100
URL = "https://videos.example.com/a.mp4"
AMZ = f"{URL}?X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=abc"


def code_of(seen, url=URL):
    problem = trouble_in(url, seen, NOW)
    return problem and problem.code


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (Looked(200, content_type="video/mp4", length=10), None),
        (Looked(200, content_type="text/plain", length=10, head=MP4), None),
        (Looked(206, content_type="application/octet-stream", length=10**6, head=MP4), None),
        (Looked(404), "preflight_dead"),
        (Looked(410), "preflight_dead"),
        (Looked(trouble="no_such_name"), "preflight_dead"),
        (Looked(trouble="name_unknown_now"), None),
        (Looked(trouble="TimeoutError"), None),
        (Looked(500), None),
        (Looked(405), None),
        (Looked(403), None),
        (Looked(200, content_type="text/html", head=b"<!doctype html><html>"), "preflight_not_a_video"),
        (Looked(200, content_type="video/mp4", head=b"<html>"), "preflight_not_a_video"),
        (Looked(200, content_type="text/html"), "preflight_not_a_video"),
        (Looked(200, content_type="video/mp4", length=2_000_000_001), "preflight_too_large"),
        (Looked(403, head=b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"),
         "preflight_expired_url"),
        (Looked(400, head=b"<Error><Code>ExpiredToken</Code>"), "preflight_expired_url"),
    ],
)  # fmt: skip
def test_a_look_tells_what_is_not_worth_a_post(seen, code):
    assert code_of(seen) == code


def test_an_expired_signature_is_told_apart_from_a_denial_and_from_a_dead_url():
    assert code_of(Looked(403), AMZ) == "preflight_expired_url"
    assert code_of(Looked(404), AMZ) == "preflight_dead"
    assert code_of(Looked(403), AMZ.replace("20260101", "20990101")) is None


def test_a_problem_shows_no_signature():
    assert "abc" not in trouble_in(AMZ, Looked(403), NOW).message


@pytest.mark.parametrize(
    ("query", "until"),
    [
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=60", 1_767_225_660),
        ("X-Goog-Date=20260101T000000Z&X-Goog-Expires=60", 1_767_225_660),
        ("Expires=1767225660&Signature=x", 1_767_225_660),
        ("se=2026-01-01T00:01:00Z&sig=x", 1_767_225_660),
        ("se=2026-01-01&sig=x", 1_767_225_600),
        ("X-Amz-Date=soon&X-Amz-Expires=60", None),
        ("se=chapter-3", None),
        ("Expires=never", None),
        ("", None),
    ],
)
def test_a_signed_url_says_until_when_it_works(query, until):
    assert expires_at(f"{URL}?{query}") == until


def test_headers_are_enough_where_they_name_a_video():
    assert is_enough(Looked(200, content_type="video/mp4", length=1))
    assert is_enough(Looked(404))
    assert not is_enough(Looked(200, content_type="application/octet-stream", length=1))
    assert not is_enough(Looked(403))
