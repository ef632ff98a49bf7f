"""The table of metrics in `docs/metrics.md`: `python -m pipeline.cli.metrics_table docs/metrics.md` writes it anew."""

import sys
from pathlib import Path

from pipeline.core.metrics import as_markdown

BEGIN, END = "<!-- metrics:begin -->\n", "<!-- metrics:end -->"


def with_table(page: str) -> str:
    """The page with the table as it is by now."""
    head, begin, rest = page.partition(BEGIN)
    table = "\n".join(as_markdown())
    return f"{head}{begin}{table}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
