"""Every format of an export behind one function."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.core.exporting import FOLDERS, About, Format
from pipeline.edges.export_fiftyone import write_fiftyone
from pipeline.edges.export_files import check_free, check_outside, new_file, new_folder
from pipeline.edges.export_huggingface import write_huggingface
from pipeline.edges.export_labelstudio import write_labelstudio
from pipeline.edges.export_table import write_csv, write_duckdb, write_jsonl, write_parquet
from pipeline.edges.export_view import View
from pipeline.edges.export_webvtt import write_webvtt
from pipeline.edges.places import Place


def check_target(chosen: Format, path: Path, out: Place, *, force: bool) -> None:
    """UsageError where the export of `out` can't go to `path`, before anything is read."""
    check_outside(path, out)
    check_free(path, folder=chosen in FOLDERS, force=force)


def write_export(view: View, chosen: Format, path: Path, about: About, *, force: bool) -> Mapping[str, int]:
    """Write a view, whole or not at all; rows that the format has no place for, by the reason."""
    if chosen in FOLDERS:
        with new_folder(path, chosen, force=force) as folder:
            return _folder(view, chosen, folder, about)
    with new_file(path, force=force) as file:
        match chosen:
            case Format.CSV:
                write_csv(view, file)
            case Format.JSONL:
                write_jsonl(view, file, about.shape)
            case Format.DUCKDB:
                write_duckdb(view, file)
            case _:
                write_parquet(view, file)
    return {}


def _folder(view: View, chosen: Format, folder: Path, about: About) -> Mapping[str, int]:
    match chosen:
        case Format.FIFTYONE:
            return write_fiftyone(view, folder)
        case Format.LABELSTUDIO:
            return write_labelstudio(view, folder, about)
        case Format.WEBVTT:
            return write_webvtt(view, folder)
        case _:
            write_huggingface(view, folder, about)
            return {}
