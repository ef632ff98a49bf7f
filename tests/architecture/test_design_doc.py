"""The design says what the code says: the state table, the dependencies, the rooms, and links that lead somewhere."""

import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pipeline.core.lifecycle import Outcome, State, diagram
from tests.documents import documents

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in documents(ROOT)]
PICTURES = ("docs/how-it-works.svg",)


@pytest.fixture(scope="module")
def design(root):
    return (root / "docs" / "design.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def glossary(root):
    return (root / "docs" / "glossary.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def section(text, title):
    """What stands under a heading of the second level."""
    _, found, rest = text.partition(f"\n## {title}\n")
    assert found, f"no section {title!r}"
    return rest.partition("\n## ")[0]


def first_cells(text):
    """The first cell of every row of every table, without the headings."""
    rows = [line.strip("| ").split(" | ")[0] for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if row not in {"package", "room", "outcome", "word"} and not row.startswith("--")]


def names(requirements):
    """`redis[hiredis]>=6.4` as `redis`."""
    return {re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0] for requirement in requirements}


def anchors(text):
    """The places in a document that a link can name, as a forge makes them from its headings."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_state_table_is_the_one_that_the_code_keeps(design):
    written = design.partition("<!-- lifecycle:begin -->\n")[2].partition("\n<!-- lifecycle:end -->")[0]
    assert written == diagram(), "put the output of pipeline.core.lifecycle.diagram() between the markers"


def test_every_dependency_has_its_reason_and_no_reason_outlives_its_dependency(design, project):
    told = {name for cell in first_cells(section(design, "Dependencies")) for name in names(cell.split(", "))}
    wanted = [*project["dependencies"], *(one for group in project["optional-dependencies"].values() for one in group)]
    assert told == names(wanted)


def test_every_room_that_exists_is_in_the_table(design, root):
    told = {cell.strip("`/") for row in first_cells(section(design, "Rooms")) for cell in row.split("`, `")}
    rooms = {f"pipeline/{path.parent.name}" for path in (root / "pipeline").glob("*/__init__.py")}
    assert rooms | {"pipeline/ports.py", "workers", "manifests", "tests", "benchmarks"} == told


def test_every_state_and_outcome_has_its_meaning(glossary):
    words = set(first_cells(glossary))
    assert {outcome.value for outcome in Outcome} <= words
    assert {state.value for state in State} - {State.DONE} <= words


def test_the_words_are_in_order(glossary):
    words = [word.lower() for word in first_cells(glossary.partition("\n## ")[0])]
    assert words == sorted(words)


def test_every_word_of_the_glossary_is_used(glossary, root):
    modules = [path for folder in ("pipeline", "workers") for path in (root / folder).rglob("*.py")]
    others = [root / name for name in DOCUMENTS if name != "docs/glossary.md"]
    used = " ".join(path.read_text(encoding="utf-8") for path in [*others, *modules]).lower()
    words = {word.lower() for cell in first_cells(glossary.partition("\n## ")[0]) for word in cell.split(", ")}
    ways = {word: re.escape(word).replace("\\ ", r"[\s_]+") for word in words}  # a module's name is a use, too
    assert {
        word for word, way in ways.items() if not re.search(rf"(?<![a-z]){way}(?:s|es|ed|d)?(?![a-z])", used)
    } == set()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_loads_nothing_and_is_read_in_light_and_in_dark(root, name):
    text = (root / name).read_text(encoding="utf-8")
    tree = ET.fromstring(text)
    tags = {element.tag.rpartition("}")[2] for element in tree.iter()}
    assert not tags & {"script", "image", "use", "foreignObject", "a"}
    assert {"title", "desc"} <= tags
    addresses = re.findall(r"(?:https?:|//)[^\s\"')]+", text)
    assert addresses == ["http://www.w3.org/2000/svg"]
    light, dark = text.split("@media (prefers-color-scheme: dark)")
    painted = [set(re.findall(r"\.(\w+) \{ (?:fill|stroke): ?#|\.(\w+) \{ fill", part)) for part in (light, dark)]
    assert painted[0] == painted[1], "each colour has its like in the dark"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(root, name):
    document = root / name
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    lost = []
    for link in links:
        path, _, anchor = link.partition("#")
        if path.startswith(("https://", "http://")):
            continue
        target = (document.parent / path).resolve() if path else document
        if not target.is_file() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            lost.append(link)
    assert lost == []


def test_every_file_that_the_design_names_is_there(design, root):
    named = re.findall(r"`((?:pipeline|workers|tests|core|flows|edges)/[\w/]+\.(?:py|lua))`", design)
    homes = (root, root / "pipeline")
    assert [name for name in named if not any((home / name).is_file() for home in homes)] == []
