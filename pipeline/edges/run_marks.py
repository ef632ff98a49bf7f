"""What people and commands decided of a run, each in a file of its folder, so that it survives the ledger."""

from typing import Any

import orjson

from pipeline.core.budget import Budget
from pipeline.core.errors import StorageError
from pipeline.edges.files import write_bytes
from pipeline.edges.places import Place


class RunMarks:
    """The marks of the run whose folder is `path`."""

    path: Place

    def begin(self, place: str, identity: str) -> None:
        """Note that rows may be sent from here on, and by which ledger."""
        write_bytes(self.path / "begun", orjson.dumps({"place": place, "identity": identity}))

    def begun_in(self) -> dict[str, Any]:
        """The `place` and `identity` of the ledger that the run was begun in; empty before."""
        path = self.path / "begun"
        return read_json(path) if path.exists() else {}

    @property
    def cancelled(self) -> bool:
        """Whether a person wants the run to end without sending more."""
        return (self.path / "cancelled").exists()

    @property
    def abandoned(self) -> bool:
        """Whether a person, beyond that, does not want to wait for what was sent."""
        return (self.path / "abandoned").exists()

    def cancel(self, *, abandon: bool = False) -> None:
        """Note that nothing more is to be sent, whatever becomes of the ledger; an abandoned run stays abandoned."""
        if abandon:
            write_bytes(self.path / "abandoned", b"")
        write_bytes(self.path / "cancelled", b"")

    @property
    def budget(self) -> Budget:
        """The caps that the run was given last, whatever became of its ledger."""
        path = self.path / "budget.json"
        return Budget(**read_json(path)) if path.exists() else Budget()

    def cap(self, budget: Budget) -> None:
        """Keep the caps of the run."""
        if budget != self.budget:
            write_bytes(self.path / "budget.json", orjson.dumps({"cost": budget.cost, "tokens": budget.tokens}))

    @property
    def repairs(self) -> int:
        """How often the run was last told to ask for an answer again; 0 where nobody told it."""
        path = self.path / "repairs.json"
        return int(read_json(path)["repairs"]) if path.exists() else 0

    def repair(self, repairs: int) -> None:
        """Keep how often the run asks for an answer again."""
        if repairs != self.repairs:
            write_bytes(self.path / "repairs.json", orjson.dumps({"repairs": repairs}))


def read_json(path: Place) -> dict[str, Any]:
    """A small JSON object. StorageError when it can't be read."""
    try:
        return dict(orjson.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{path} can't be read: {error}") from error
