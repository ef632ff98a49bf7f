"""Names under which processes hold rows, shifts and locks."""

import os

from workers.holders import unique_name


def test_a_container_that_is_started_again_has_another_name_under_the_same_host_and_process_id():
    assert unique_name("host") != unique_name("host")


def test_a_name_ends_with_eight_hex_digits_and_the_process_id():
    base, digits, pid = unique_name("host-1").rsplit("-", 2)
    assert (base, len(bytes.fromhex(digits)), int(pid)) == ("host-1", 4, os.getpid())


def test_no_name_has_what_divides_a_token_or_a_path():
    assert unique_name("vidbatch-7@h:o|s/t").startswith("vidbatch-7@h_o_s_t-")
