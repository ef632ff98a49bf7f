"""What an upload's reply means."""

import orjson
import pytest

from pipeline.core.account import Secret
from pipeline.core.answers import AccountRefused, NothingSent, Problem, Refused, Throttled
from pipeline.core.reading_uploads import read_upload
from pipeline.edges.http import HttpReply
from pipeline.edges.masking import Masking

BASE = "https://api.example/base"


def read(status, body, **headers):
    packed = body if isinstance(body, bytes) else orjson.dumps(body)
    return read_upload(status, headers, packed, BASE, now=0.0, longest_retry_after=60.0)


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("https://store.example/a.mp4", "https://store.example/a.mp4"),
        ("/files/a.mp4", "https://api.example/files/a.mp4"),
        ("files/a.mp4", "https://api.example/base/files/a.mp4"),
    ],
)
def test_a_file_lies_where_the_api_says(told, url):
    assert read(200, {"id": "f", "url": told}) == url
    assert read(200, {"data": {"url": told}}) == url


@pytest.mark.parametrize(
    "told", ["", None, 7, "file:///etc/passwd", "javascript:x", "https://me:pw@a.example/b", "a b", "x" * 5000]
)
def test_what_is_no_url_is_no_upload(told):
    assert isinstance(read(200, {"url": told}), NothingSent)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AccountRefused),
        (402, AccountRefused),
        (403, Refused),
        (413, Refused),
        (422, Refused),
        (429, Throttled),
        (408, NothingSent),
        (500, NothingSent),
        (503, NothingSent),
        (302, NothingSent),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error":{"message":"no"}}'])
def test_a_refused_upload_is_what_its_post_would_be_and_never_ambiguous(status, kind, body):
    assert isinstance(read(status, body), kind)


SIGNED = "https://b.s3.example/a.mp4?X-Amz-Credential=AKIA%2F2026&X-Amz-Signature=0abc&x-amz-security-token=SESS%3D"


@pytest.mark.parametrize(
    "echo", [SIGNED, SIGNED.replace("&", "\\u0026"), SIGNED.replace("=", "%3D").replace("&", "%26")]
)
def test_what_makes_a_signed_url_work_is_masked_in_an_echo(echo):
    masking = Masking(Secret("sk-0123456789"))
    masked = masking.reply(HttpReply(422, {}, f'{{"error":{{"message":"can\'t fetch {echo}"}}}}'.encode())).body
    problem = masking.problem(Problem("x", f"can't fetch {echo}")).message
    for text in (masked.decode(), problem):
        assert "b.s3.example/a.mp4" in text
        assert not [secret for secret in ("AKIA", "0abc", "SESS") if secret in text], text
