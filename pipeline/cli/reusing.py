"""What of a plan need not be sent: requests that OUT has answered, and those that the plan has twice."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence

from pipeline.cli.asking import Question, identity_in
from pipeline.core.sifting import Sifted
from pipeline.core.standing import COLLECTS
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import Place
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.flows.plan import PlanSummary


def answered(out: OutFolder, question: Question) -> dict[str, list[Place]]:
    """The files of annotations that answer what is asked, by run: of the same API, held against the same schema."""
    api, schema = question.identity, question.schema and question.schema.digest
    files = out.answers()
    return {
        folder.run_id: files.get(folder.run_id, [])
        for folder, described in ((folder, folder.described()) for folder in out.runs())
        if identity_in(described) == api and described.get("schema_digest") == schema
    }


def collections_of(out: OutFolder) -> set[str]:
    """The runs that only collected."""
    return {folder.run_id for folder in out.runs() if COLLECTS in folder.described()}


def sifted(
    summary: PlanSummary, folder: LocalRunFolder, known: Mapping[str, Sequence[Place]], collections: Container[str] = ()
) -> Sifted:
    """Take out of a plan what need not be sent; all of it is, mostly, and then nothing has to be looked at."""
    if not summary.requests or not (summary.repeated or any(known.values())):
        return Sifted(
            requests=summary.requests,
            models=Counter(summary.models),
            videos=summary.videos,
            prompt_characters=summary.prompt_characters,
            lengths=summary.lengths,
            thinking=summary.thinking,
        )
    from pipeline.edges.sifting import sift  # noqa: PLC0415 - DuckDB is loaded only where there is something to compare

    return sift(folder.draft, known, collections=collections)
