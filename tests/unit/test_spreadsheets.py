"""Text that a spreadsheet shows, and does not run."""

import pytest

from pipeline.core.spreadsheets import harmless


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_what_may_be_a_formula_is_marked_as_text(text):
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "1", "a=1", " =1", "'=1"])
def test_all_else_stays_as_it_is(text):
    assert harmless(text) == text
