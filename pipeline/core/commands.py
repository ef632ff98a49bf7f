"""Commands as a person would type them, for messages and pages that say what to do next."""

import shlex


def command_words(verb: str, run_id: str, out: str, *options: str) -> str:
    """A command about a run in OUT."""
    return shlex.join(["vidbatch", verb, run_id, "--out", out, *options])
