"""What a command asks, by its options: all that makes it the same as an earlier one."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.cli import question_options
from pipeline.core.modes import FOXAPI
from pipeline.core.prompts import NO_PROMPT, Prompt
from pipeline.core.providers import api_identity
from pipeline.core.requests import Defaults
from pipeline.core.shapes import Shape
from pipeline.edges.manifests import digest_of
from pipeline.edges.stored_manifest import ManifestPlace

if TYPE_CHECKING:
    from pipeline.edges.schemas import AnswerSchema


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: it alone makes a command the same as an earlier one."""

    manifests: tuple[ManifestPlace, ...]
    defaults: Defaults
    base_url: str
    limit: int | None
    prompts: tuple[Prompt | None, ...] = tuple(NO_PROMPT)
    schema: "AnswerSchema | None" = None
    api: str = FOXAPI
    roots: tuple[str, ...] = ()
    """Folders whose files may be read: not what is asked, but how it is read."""

    def digest(self) -> str:
        """SHA-256 over the manifests' bytes and everything else that is asked."""
        asked: dict[str, object] = {
            "manifest": digest_of(self.manifests),
            "limit": self.limit,
            "api": self.identity,
        }
        asked["schema"] = self.schema.digest if self.schema else None
        asked["prompts"] = [prompt and (prompt.name, prompt.text) for prompt in self.prompts]
        defaults = asdict(self.defaults)
        del defaults["fallback_model"]  # the API says it
        whole = orjson.dumps({**asked, "defaults": defaults}, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(whole).hexdigest()

    @property
    def identity(self) -> str:
        """Which API is asked, as against who pays for it."""
        return api_identity(self.api, self.base_url)

    @property
    def names(self) -> list[str]:
        """The prompts' names; none where there is one prompt, or each row has its own."""
        return [prompt.name for prompt in self.prompts if prompt is not None and prompt.name is not None]


def question_of(manifests: tuple[ManifestPlace, ...], given: Mapping[str, Any]) -> Question:
    """What a command asks, by its options."""
    schema = question_options.schema_of(given)
    defaults = question_options.defaults_of(given, schema)
    prompts = question_options.prompts_of(given)
    base_url, limit, roots = given["base_url"], given["limit"], given["media_root"]
    return Question(manifests, defaults, base_url, limit, prompts, schema, given["api"], roots)


def identity_in(described: Mapping[str, Any]) -> str:
    """Which API a run asked, by its `run.json`."""
    return api_identity(described.get("api", FOXAPI), described["base_url"])


def schema_described(schema: "AnswerSchema | None", shape: Shape | None) -> dict[str, Any]:
    """What `run.json` keeps of a schema: `shape` is as the dataset's columns have it."""
    if schema is None:
        return {}
    return {"answer_schema": schema.schema, "schema_digest": schema.digest, "answer_shape": shape}
