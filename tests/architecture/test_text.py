"""What stands in the project's files: nothing of one person's machine, nothing unfinished, nothing too long."""

import re
import subprocess

import pytest

# Each is written in pieces, so that this file does not hold what it looks for.
INDEX_HOSTS = re.compile(r"(?:py" r"pi\.(?:org|io)|pyth" r"onhosted\.org|ind" r"ex-url[ =]+\S*//)")
MACHINE_PATHS = re.compile(r"(?<![\w./}~-])/(?:ho" r"me|Us" r"ers|ro" r"ot|wo" r"rk)/\w")
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b|\braise NotImple" r"mentedError")
EVASIONS = re.compile(r"\b(?:time\.sl" r"eep|pytest\.sk" r"ip|mark\.sk" r"ip|mark\.xf" r"ail|pytest\.xf" r"ail)")

EXCUSED: dict[str, str] = {
    "tests/integration/test_promtool.py": "promtool is no Python package: where none is, its tests are left out",
    "tests/browser.py": "a browser is no Python package: where none is, its tests are left out; .ci/run installs one",
    "tests/containers.py": "containers take Linux and root: elsewhere the compose file is only read",
    "tests/hosts.py": "hosts of one's own need root on Linux: elsewhere the tests of cables are left out, and say so",
}
"""Path to the reason why what stands there may leave tests out."""

LONGEST_MODULE = 300
LONGER_MODULES: dict[str, str] = {
    "pipeline/ports.py": "every question that a flow may ask of the world, in one place: signatures and nothing else",
}
"""Path to the reason why that module is better in one piece."""

LONGEST_README = 120


@pytest.fixture(scope="module")
def texts(root):
    """Every text file of the project, by its path: what git tracks and what it would track."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    contents = {name: (root / name).read_bytes() for name in names if (root / name).is_file()}
    return {name: content.decode() for name, content in contents.items() if b"\0" not in content}


def hits(texts, pattern, prefixes=("",)):
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts.items()
        if name.startswith(prefixes)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_index(texts):
    assert hits(texts, INDEX_HOSTS) == []


def test_no_file_names_a_folder_of_somebodys_machine(texts):
    assert hits(texts, MACHINE_PATHS) == []


def test_nothing_is_left_for_later(texts):
    assert hits(texts, UNFINISHED, ("pipeline/", "workers/", "tests/", "benchmarks/", "manifests/")) == []


def test_no_test_sleeps_to_be_right_or_excuses_itself(texts):
    assert hits({n: t for n, t in texts.items() if n not in EXCUSED}, EVASIONS, ("tests/",)) == []


def test_no_module_grows_past_reading(texts):
    modules = {n: t for n, t in texts.items() if n.startswith(("pipeline/", "workers/")) and n.endswith(".py")}
    lengths = {name: len(text.splitlines()) for name, text in modules.items()}
    assert {n: lines for n, lines in lengths.items() if lines > LONGEST_MODULE and n not in LONGER_MODULES} == {}


def test_no_exception_outlives_its_reason(texts):
    unneeded = [n for n in LONGER_MODULES if len(texts.get(n, "").splitlines()) <= LONGEST_MODULE]
    assert unneeded == []
    assert [n for n in EXCUSED if not EVASIONS.search(texts.get(n, ""))] == []


def test_the_readme_is_read_in_five_minutes(texts):
    assert 0 < len(texts["README.md"].splitlines()) <= LONGEST_README


def test_the_readme_begins_with_the_demo_and_the_tests(texts):
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", texts["README.md"], flags=re.MULTILINE | re.DOTALL)
    commands = [line.removeprefix("$ ").split("#")[0].strip() for block in blocks for line in block.splitlines()]
    assert [command for command in commands if command][:2] == ["make demo", "make test"]
