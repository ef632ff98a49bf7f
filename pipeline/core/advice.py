"""What a person can do for rows that did not come to an answer that can be used, in the same words everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.answering import AnswerStatus
from pipeline.core.commands import command_words
from pipeline.core.lifecycle import Outcome
from pipeline.core.references import VIDEO_CHANGED
from pipeline.core.standing import DEFAULT_OUTCOMES, REPAIRABLE, End, Remains


@dataclass(frozen=True, slots=True)
class Advice:
    """A sentence, and the command that does it, where one does."""

    text: str
    command: str = ""


def remains_lines(left: Remains, run_id: str, out: str) -> list[str]:
    """The commands that help rows that are left by now; asking again costs, collecting does not."""
    lines: list[str] = []
    if left.collectable:
        lines.append(
            f"{left.collectable:,} rows have a generation that was paid for: `{command_words('collect', run_id, out)}` "
            "fetches what is ready by now, and sends nothing"
        )
    changed = left.counts.get((Outcome.REFUSED, VIDEO_CHANGED), 0)
    ways = [(" failed or cancelled", left.again), (" that may have been billed: --unknown", left.unknown)]
    ways.append((" refused: --outcome refused", left.refused - changed))
    told = [f"{count:,}{option}" for option, count in ways if count]
    if told:
        again = command_words("retry", run_id, out)
        lines.append(f"rows that can be asked again, at your cost: `{again}` ({', '.join(told)})")
    if changed:
        lines.append(f"rows whose files had changed or were gone: {changed:,}. {_PLAN_ANEW}")
    if left.unfit:
        count = sum(left.unfit.values())
        what = "1 answer can't be used as it is" if count == 1 else f"{count:,} answers can't be used as they are"
        it = "it" if count == 1 else "them"
        lines.append(f"{what}: `{repair_words(left.unfit, run_id, out)}` asks for {it} again, at your cost")
    return lines


_PLAN_ANEW = (
    "The run's own command, given again, plans such files as they are by now; a retry asks for them as they were."
)


def repair_words(unfit: Mapping[str, int], run_id: str, out: str) -> str:
    """The command that asks for answers of these statuses again, until they fit or a repair did not help."""
    chosen = [word for status in unfit for word in ("--answer", status)]
    return command_words("retry", run_id, out, *chosen, "--repair", "1")


_OF_ANSWERS = {
    AnswerStatus.TRUNCATED: "The answer was cut at max_tokens. This asks such rows again, at your cost, and once more "
    "with a higher one where the answer is cut as before.",
    AnswerStatus.INVALID: "The answer does not fit its schema; answer_error says where, content holds its text. This "
    "asks such rows again, at your cost, and once more with what was wrong where the answer does not fit either.",
    AnswerStatus.REFUSED: "The model declined to answer: another prompt, or another model, may be answered.",
    AnswerStatus.EMPTY: "The answer has no text: finish_reason and response may say why. This asks such rows again, at "
    "your cost, and once more where the answer is empty as before.",
}


def advice_for(end: End, status: str | None, run_id: str, out: str) -> Advice:
    """What can be done for a row that ended so, with an answer of this status where one came."""
    if end.outcome is Outcome.COMPLETED:
        told = _OF_ANSWERS.get(AnswerStatus(status)) if status in set(AnswerStatus) else None
        command = repair_words({status: 1}, run_id, out) if status in REPAIRABLE else ""
        return Advice(told or "Nothing: it has its answer.", command)
    if end.collectable:
        return Advice(
            "It has a generation that was paid for: this fetches what is ready by now, and sends nothing.",
            command_words("collect", run_id, out),
        )
    outcome = end.counts_as
    options = () if outcome in DEFAULT_OUTCOMES else ("--outcome", outcome.value)
    by_code: tuple[str, ...] = ("--code", end.code) if end.code and outcome is end.outcome else ()
    match outcome:
        case Outcome.UNKNOWN:
            command = command_words("retry", run_id, out, "--unknown")
            return Advice(
                "It may have been billed without an answer; this asks it again, perhaps at double cost.", command
            )
        case Outcome.REFUSED if end.code == VIDEO_CHANGED:
            return Advice(_PLAN_ANEW)
        case Outcome.REFUSED if end.code.startswith("preflight_"):
            text = (
                "Nothing was sent. Correct the row in the manifest; once its video is there, this looks and asks again."
            )
            by_code += ("--preflight",)
        case Outcome.REFUSED:
            text = "The API does not accept it as it is: correct the row in the manifest; as it is, this asks it again."
        case Outcome.EXPIRED:
            text = "It was still running when nobody waited any longer; this asks it again, at your cost."
        case _:
            text = "This asks it again, at your cost."
    return Advice(text, command_words("retry", run_id, out, *options, *by_code))
