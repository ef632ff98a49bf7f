from hashlib import sha256

from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.simulator.digest import digest, digest_of_hashes

questions = st.tuples(st.lists(st.binary(max_size=40), max_size=4), st.text(max_size=40))


def test_moving_bytes_from_one_video_to_the_next_changes_the_digest():
    assert digest([b"ab", b"c"], "p") != digest([b"a", b"bc"], "p")


def test_moving_bytes_from_a_video_to_the_prompt_changes_the_digest():
    assert digest([b"ab"], "c") != digest([b"a"], "bc")
    assert digest([b"a"], "") != digest([], "a")


def test_a_prompt_that_spells_a_videos_hash_is_no_video():
    assert digest([b"a", b"b"], "p") != digest_of_hashes([sha256(b"a").digest()], "p").hex()


def test_the_order_of_the_videos_counts():
    assert digest([b"a", b"b"], "p") != digest([b"b", b"a"], "p")


def test_the_digest_is_the_same_from_bytes_and_from_hashes():
    videos = [b"one", b"two"]
    assert digest(videos, "é") == digest_of_hashes([sha256(video).digest() for video in videos], "é").hex()


@given(questions, questions)
def test_two_questions_never_share_a_digest(one, other):
    assume(one != other)
    assert digest(*one) != digest(*other)
