"""JSON Schemas: the one door to the package that holds values against them. Nothing is ever fetched.

Whoever has no schema need not load this module.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson

from pipeline.core.errors import SettingsError
from pipeline.core.fitting import json_path, shown
from pipeline.core.instructing import instruction_of
from pipeline.core.judging import Check, Judging, Steps
from pipeline.core.shapes import Shape, shape_of

DRAFT = "https://json-schema.org/draft/2020-12/schema"
LONGEST_SCHEMA = 1_000_000
"""Bytes of a schema's file: with the prompt it must fit into a tenth of that anyway."""

_VALUE = "the value"


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """A schema that can be used, the SHA-256 of its canonical JSON as hex digits, and the shape of its answers."""

    schema: Mapping[str, Any]
    digest: str
    shape: Shape

    @property
    def instruction(self) -> str:
        """What a prompt says of it."""
        return instruction_of(self.schema)


def read_schema(path: Path, option: str = "--schema") -> AnswerSchema:
    """The schema of a file. SettingsError names the file, the place and what is wrong there."""
    named = f"{option}: {path}"
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_SCHEMA + 1)
    except OSError as error:
        raise SettingsError(f"{named} can't be read: {error.strerror or error}") from error
    if len(content) > LONGEST_SCHEMA:
        raise SettingsError(f"{named}: found more than {LONGEST_SCHEMA:,} bytes; no prompt has room for that")
    try:
        schema = orjson.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{named}: found bytes that are not UTF-8, the first at byte {error.start}") from error
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"{named}: found what is no JSON: {error}") from error
    return checked_schema(schema, named)


def checked_schema(schema: object, named: str = "schema") -> AnswerSchema:
    """A schema that was given as a mapping, or as a class that tells its own, as Pydantic's models do.

    SettingsError names the place in it and what is wrong there.
    """
    told = getattr(schema, "model_json_schema", None)
    plain = _plain(told() if callable(told) else schema, named)
    if (draft := plain.get("$schema", DRAFT)) not in (DRAFT, f"{DRAFT}#"):
        raise SettingsError(f"{named}: $.$schema: found {shown(draft)}; allowed is {DRAFT}, or nothing")
    try:
        _validator(plain)
    except ValueError as error:
        raise SettingsError(f"{named}: {_wrong(error)}") from None
    try:
        shape = shape_of(plain)
    except SettingsError as error:
        raise SettingsError(f"{named}: {error}") from None
    canonical = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    return AnswerSchema(plain, hashlib.sha256(canonical).hexdigest(), shape)


def _plain(schema: object, named: str) -> dict[str, Any]:
    """The schema as files keep it, a copy."""
    try:
        plain = orjson.loads(orjson.dumps(schema))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{named}: found what JSON can't hold: {error}") from None
    if not isinstance(plain, dict):
        raise SettingsError(f"{named}: found {shown(plain)}; allowed is a JSON Schema, which is an object")
    return plain


def _wrong(error: ValueError) -> str:
    """Where and what is wrong with a schema."""
    if not isinstance(error, jsonschema_rs.ValidationError):
        return str(error).partition("\n")[0]
    return f"{json_path(error.instance_path)}: {_reason(error).partition(': RuntimeError')[0]}"


def _refuse(uri: str) -> Any:  # noqa: ANN401 - a schema, if there were one
    """The retriever of a validator that fetches nothing."""
    raise RuntimeError(f"{uri} is not in this file, and nothing is fetched")


def _validator(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the package has several classes of them
    return jsonschema_rs.Draft202012Validator(dict(schema), retriever=_refuse, mask=_VALUE)


def judging_of(described: Mapping[str, Any]) -> Judging:
    """What judges the answers of a run, by its `run.json`. SettingsError for a schema that was spoilt there."""
    checked = checked_schema(described["answer_schema"], "answer_schema of run.json")
    return Judging(_check_of(checked.schema), described.get("answer_shape", checked.shape))


def _check_of(schema: Mapping[str, Any]) -> Check:
    validator = _validator(schema)
    is_valid, validate = validator.is_valid, validator.validate

    def check(value: Any) -> tuple[Steps, str] | None:  # noqa: ANN401 - what JSON holds
        try:
            if is_valid(value):
                return None
            validate(value)  # raises the first error, where a list of all of them could be long
        except jsonschema_rs.ValidationError as error:
            return error.instance_path, _reason(error)
        except Exception as error:  # noqa: BLE001 - whatever the package can't do with an answer, the answer is kept
            return (), f"can't be held against the schema: {error}"
        return (), "does not fit the schema"

    return check


def _reason(error: Any) -> str:  # noqa: ANN401 - the package's error
    """Why a value does not fit, with the value where the message leaves it out."""
    message = str(error.message)
    return f"{message}; found {shown(error.instance)}" if _VALUE in message else message
