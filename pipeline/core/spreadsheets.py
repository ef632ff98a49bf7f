"""Text that a spreadsheet shows, and does not run."""

FORMULA = "=+-@\t\r\n"
"""A cell that begins with one of these may be taken for a formula, or with one that is skipped before one."""


def harmless(text: str) -> str:
    """A cell's text, marked as such where it might be taken for a formula."""
    return f"'{text}" if text[:1] and text[0] in FORMULA else text
