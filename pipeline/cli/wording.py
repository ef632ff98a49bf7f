"""Commands as a person would type them, for messages that say what to do next."""

import shlex
from collections.abc import Mapping
from typing import Any

from pipeline.core.commands import command_words
from pipeline.core.standing import COLLECTS, DEFAULT_OUTCOMES, RETRY_OF
from pipeline.edges.run_folder import LocalRunFolder

SELECTION = "selection"
"""The key of `run.json` under which a retry keeps what it selected."""


def cancel_words(folder: LocalRunFolder) -> str:
    """The command that ends a run without sending more."""
    return _words("cancel", folder.run_id, folder)


def report_words(folder: LocalRunFolder) -> str:
    """The command that makes a run's report anew."""
    return _words("report", folder.run_id, folder)


def again_words(folder: LocalRunFolder, described: Mapping[str, Any]) -> str:
    """The command that goes on with this run."""
    if parent := described.get(RETRY_OF):
        selected = described[SELECTION]
        answers = selected.get("answers", [])
        usual = sorted(DEFAULT_OUTCOMES) == selected["outcomes"] and not answers
        options = [] if usual else [word for name in selected["outcomes"] for word in ("--outcome", name)]
        options += [word for status in answers for word in ("--answer", status)]
        options += [word for code in selected["codes"] for word in ("--code", code)]
        return _words("retry", parent, folder, *options)
    if parent := described.get(COLLECTS):
        return _words("collect", parent, folder)
    return shlex.join(["vidbatch", "run", *described["manifests"], "--out", str(folder.out)]) + " …"


def _words(verb: str, run_id: str, folder: LocalRunFolder, *options: str) -> str:
    return command_words(verb, run_id, str(folder.out), *options)
