"""Exports as a Hugging Face dataset: Parquet files under `data/`, and a card that says what they are."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.exporting import About
from pipeline.edges.duck import named, translated
from pipeline.edges.export_table import ParquetGroups
from pipeline.edges.export_view import View

SHARD_BYTES = 1024 * 1024 * 1024
"""Unpacked; packed it is some hundred MB."""


def write_huggingface(view: View, folder: Path, about: About) -> None:
    """`data/*.parquet` and `README.md`."""
    (folder / "data").mkdir()
    schema = view.schema(view.columns)
    shards = [ParquetGroups(_shard(folder, 0), schema)]
    with translated():
        for batch in view.batches([named(name) for name in view.columns]):
            if shards[-1].size >= SHARD_BYTES:
                shards[-1].close()
                shards.append(ParquetGroups(_shard(folder, len(shards)), schema))
            shards[-1].add(batch)
        shards[-1].close()
    packed = sum(path.stat().st_size for path in (folder / "data").iterdir())
    unpacked = sum(shard.size for shard in shards)
    (folder / "README.md").write_text(_card(view, schema, about, packed, unpacked), encoding="utf-8")


def _shard(folder: Path, number: int) -> Path:
    return folder / "data" / f"train-{number:05}.parquet"


def _card(view: View, schema: Any, about: About, packed: int, unpacked: int) -> str:  # noqa: ANN401
    exported = view.exported
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: data/train-*.parquet",
        "dataset_info:",
        "  features:",
        *(f"  - {_feature(one.name, one.type)}" for one in schema),
        "  splits:",
        "  - name: train",
        f"    num_examples: {exported.rows}",
        f"    num_bytes: {unpacked}",
        f"  download_size: {packed}",
        f"  dataset_size: {unpacked}",
        "tags: [video, annotations]",
        "---",
        "",
        "# Annotations of videos",
        "",
        f"{exported.rows:,} rows, made by vidbatch {about.vidbatch} from {_runs(about)}.",
        "Each row is one row of the manifest; its `outcome` says how it ended, and `error_code` and `error_message`",
        "why where no answer came.",
        "",
        "| outcome | rows |",
        "|---|---|",
        *(f"| {outcome} | {count:,} |" for outcome, count in exported.outcomes.items()),
        "",
        "Answers are a model's words and may be wrong. `content` is the answer as it came, `answer` the same in its",
        "types, where a schema was given; `run` is the run that answered, `row_id` the manifest's own id.",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'rows = load_dataset("path/to/this/folder", split="train")',
        "```",
        "",
    ]
    return "\n".join(lines)


def _runs(about: About) -> str:
    shown = ", ".join(about.runs[:5]) + (f" and {len(about.runs) - 5} more" if len(about.runs) > 5 else "")  # noqa: PLR2004
    newest = "; of each row its newest answer over all runs" if about.latest else ""
    return f"{'run' if len(about.runs) == 1 else 'runs'} {shown}{newest}"


def _feature(name: str, kind: Any) -> str:  # noqa: ANN401 - pyarrow has no types
    """A feature as YAML, in braces."""
    return f"{{name: {_quoted(name)}, {_kind(kind)}}}"


def _kind(kind: Any) -> str:  # noqa: ANN401
    types = pa.types
    if types.is_struct(kind):
        return f"struct: [{', '.join(_feature(one.name, one.type) for one in kind)}]"
    if types.is_list(kind):
        held = kind.value_type
        if types.is_struct(held):
            return f"list: [{', '.join(_feature(one.name, one.type) for one in held)}]"
        return f"list: {{{_kind(held)}}}" if types.is_list(held) else f"list: {_dtype(held)}"
    return f"dtype: {_dtype(kind)}"


def _dtype(kind: Any) -> str:  # noqa: ANN401
    names = {pa.float64(): "float64", pa.float32(): "float32"}
    return _quoted(names.get(kind, str(kind)))


def _quoted(text: str) -> str:
    """A text in YAML, whatever stands in it."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in {'"', "\\"}:
        return "\\" + character
    return character if character.isascii() and character.isprintable() else f"\\U{ord(character):08X}"
