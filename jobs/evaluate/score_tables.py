"""Results of an evaluation as text: a table for the terminal, CSV for spreadsheets."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO

from jobs.evaluate.scoring import Judgement
from model.quality.metrics import FULL_REFERENCE, NO_REFERENCE, STATISTICS, Scores
from pipeline.errors import plural

DIGITS = {"psnr": 2, "ssim": 4, "mae": 4, "niqe": 2, "brisque": 1} | dict.fromkeys(STATISTICS, 3)
HIGHER_IS_BETTER = ("psnr", "ssim")
LEGEND = "psnr, ssim: higher is better; mae, niqe, brisque: lower is better; the other columns describe the photos"


def columns(judgements: Sequence[Judgement]) -> list[str]:
    """Return the names of the scores that any judgement has, in a fixed order."""
    names = {name for judgement in judgements for scores in judgement.scores.values() for name in scores}
    return [name for name in (*FULL_REFERENCE, *NO_REFERENCE, *STATISTICS) if name in names]


def summarised(judgements: Sequence[Judgement]) -> dict[str, Scores]:
    """Compute the mean of each score over the photos that have it, by version (input, each network, reference)."""
    versions = list(dict.fromkeys(version for judgement in judgements for version in judgement.scores))
    return {
        version: {
            column: _mean(
                judgement.scores[version].get(column) for judgement in judgements if version in judgement.scores
            )
            for column in columns(judgements)
        }
        for version in versions
    }


def table(judgements: Sequence[Judgement]) -> str:
    """Format the means as a table with a line for each version."""
    summary = summarised(judgements)
    names = columns(judgements)
    lines = [[f"mean of {plural(sum(bool(judgement.scores) for judgement in judgements), 'photo')}", *names]]
    lines += [[version, *(_shown(name, scores[name]) for name in names)] for version, scores in summary.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
    return "\n".join([*("  ".join(line) for line in aligned), LEGEND])


def line(scores: Scores) -> str:
    """Format the few scores that fit under an image."""
    wanted = ("psnr", "ssim") if "psnr" in scores else ("niqe", "brisque")
    return "  ".join(f"{name.upper()} {_shown(name, scores[name])}" for name in wanted)


def scores_csv(judgements: Sequence[Judgement]) -> bytes:
    """Build a CSV file: a row for each photo and version, and one with the problem for each photo left out."""
    names = columns(judgements)
    rows: list[list[object]] = [["photo", "version", *names, "problem"]]
    for judgement in sorted(judgements, key=lambda judgement: judgement.name):
        rows += [
            [judgement.name, version, *(scores.get(name) for name in names), ""]
            for version, scores in judgement.scores.items()
        ]
        if judgement.problem:
            rows.append([judgement.name, "", *(None for _ in names), judgement.problem])
    return _csv(rows)


def summary_csv(judgements: Sequence[Judgement]) -> bytes:
    """Build a CSV file of the means, a row for each version."""
    names = columns(judgements)
    scored = len([judgement for judgement in judgements if judgement.scores])
    rows = [[version, scored, *scores.values()] for version, scores in summarised(judgements).items()]
    return _csv([["version", "photos", *names], *rows])


def without_score(judgements: Sequence[Judgement]) -> list[str]:
    """Return a sentence for each score that some photos are too small or too plain to have."""
    sentences = []
    for name in (*FULL_REFERENCE, *NO_REFERENCE):
        count = sum(any(scores.get(name, 0) is None for scores in found.scores.values()) for found in judgements)
        if count:
            sentences.append(
                f"{name}: {plural(count, 'photo')} too small or too plain for it, and not part of the mean"
            )
    return sentences


def _shown(name: str, score: float | None) -> str:
    return "-" if score is None else f"{score:.{DIGITS[name]}f}"


def _mean(scores: Iterable[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    buffer = StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode(errors="backslashreplace")
