"""What `--out` takes: a folder of this machine, or an address in an object store."""

from pathlib import Path

import click

from pipeline.edges.places import ObjectPlace, Place, out_place


class _Out(click.ParamType[Place]):
    """A folder, or a prefix in an object store. Bad addresses raise SettingsError."""

    name = "directory"

    def convert(self, value: str | Place, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """What was typed, as a place."""
        place = value if isinstance(value, ObjectPlace) else out_place(str(value))
        if isinstance(place, Path) and place.exists() and not place.is_dir():
            self.fail(f"Directory {str(value)!r} is a file.", param, ctx)
        return place


OUT = _Out()
