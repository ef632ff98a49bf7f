"""Every line of ours that is logged bears one word by which it is found, and that word has one meaning."""

import ast
import re

import pytest

from pipeline.core.log_events import EVENTS

METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
WORD = re.compile(r"[a-z]+(_[a-z]+)*")
RELAYS: dict[str, str] = {
    "workers/pulse.py": "it passes on what core/happenings.py says, whose words are looked at there",
}
"""Path to the reason why an event there may be no literal."""
BEGIN, END = "<!-- events:begin -->", "<!-- events:end -->"


@pytest.fixture(scope="module")
def sources(root):
    """Every module of ours, parsed, by its path."""
    modules = [module for package in ("pipeline", "workers") for module in (root / package).rglob("*.py")]
    return {module.relative_to(root).as_posix(): ast.parse(module.read_text(encoding="utf-8")) for module in modules}


def loggers(tree):
    """Names that are bound to a logger."""
    for node in ast.walk(tree):
        made = isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if made and getattr(node.value.func, "attr", "") == "getLogger":
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def is_logger(node, names):
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.Attribute):
        return node.attr in {"_log", "log", "logger"} and not isinstance(node.value, ast.Attribute)
    return isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "getLogger"


def log_calls(tree):
    names = set(loggers(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in METHODS and is_logger(node.func.value, names):
            yield node


def event_of(call):
    """The node of a call's event, or nothing."""
    for keyword in call.keywords:
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "event":
                    return value
    return None


def complaints(path, tree):
    for call in log_calls(tree):
        event = event_of(call)
        if event is None:
            yield f"{path}:{call.lineno}: this line of the log has no event"
        elif isinstance(event, ast.Constant):
            if not WORD.fullmatch(str(event.value)) or event.value not in EVENTS:
                yield f"{path}:{call.lineno}: {event.value!r} is no word of core/log_events.py"
        elif path not in RELAYS and not (isinstance(event, ast.Name) and event.id.isupper()):
            yield f"{path}:{call.lineno}: the event is no word, but something that is made"


def test_every_line_of_the_log_has_its_event(sources):
    found = [complaint for path, tree in sources.items() for complaint in complaints(path, tree)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "_log.warning('x')",
        "_log.warning('x', extra={'run': 'r'})",
        "_log.info('x', extra={'event': 'no_such_event'})",
        "_log.info('x', extra={'event': 'Worker Started'})",
        "_log.info('x', extra={'event': 'a' + 'b'})",
        "self._log.info('x')",
        "logging.getLogger('vidbatch').error('x')",
    ],
)
def test_a_line_without_one_is_found(line):
    tree = ast.parse(f"import logging\n_log = logging.getLogger('vidbatch.x')\n{line}")
    assert list(complaints("workers/x.py", tree))


def test_there_are_log_lines_to_look_at(sources):
    assert sum(1 for _, tree in sources.items() for _ in log_calls(tree)) > 20


def test_every_event_is_used_and_means_something(sources):
    used = {
        node.value
        for path, tree in sources.items()
        if path != "pipeline/core/log_events.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    } | {"library", "crashed"}
    assert set(EVENTS) - used == set()
    assert all(WORD.fullmatch(event) and meaning for event, meaning in EVENTS.items())


def test_the_documentation_lists_the_events_as_they_are(root):
    text = (root / "docs" / "logs.md").read_text(encoding="utf-8")
    table = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    rows = [f"| `{event}` | {meaning} |" for event, meaning in EVENTS.items()]
    assert table == ["| event | what it says |", "|---|---|", *rows]


def test_only_one_module_configures_logging(sources):
    setters = {"basicConfig", "addHandler", "dictConfig", "captureWarnings"}
    found = {
        path
        for path, tree in sources.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in setters
    }
    assert found <= {"pipeline/edges/logs.py"}
