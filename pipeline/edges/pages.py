"""The door to the templating library: pages in which whatever comes from outside is text, and nothing else."""

from collections.abc import Mapping
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.core.costs import money
from pipeline.core.reporting import seconds


def page(template: str, values: Mapping[str, Any]) -> str:
    """A page from one of our templates; every value is escaped, but for drawings that `drawn` vouches for."""
    environment = Environment(
        loader=PackageLoader("pipeline.edges", "page_templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "money": _money, "seconds": _seconds, "pretty": _pretty}
    return environment.get_template(template).render(values)


def drawn(svg: str) -> Markup:
    """A drawing of `edges.plots`, whose library escaped what is in it."""
    return Markup(svg)  # noqa: S704 - it is no text from outside


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _money(value: float | None) -> str:
    return "unknown" if value is None else money(value)


def _seconds(value: float | None) -> str:
    """A time that no line breaks."""
    return seconds(value).replace(" ", "\u00a0")


def _pretty(value: object) -> str:
    """JSON as people read it; a list of words and numbers in one line."""
    if isinstance(value, list) and value and all(isinstance(one, str | int | float) for one in value):
        return ", ".join(str(one) for one in value)
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
