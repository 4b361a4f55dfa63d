"""The evaluation job: `nightlift evaluate SRC OUT`, or `python -m jobs.evaluate SRC OUT` from a checkout."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from jobs.cluster.canary import watched
from jobs.cluster.joining import log_expiry, ray_cluster
from jobs.cluster.nodes import room_on_cpus
from jobs.command_line.options import Shown
from jobs.evaluate.score_tables import line, scores_csv, summary_csv, table, without_score
from jobs.evaluate.scoring import INPUT, REFERENCE, SHEET, Evaluation, Judgement, Pair, find_pairs
from jobs.flags import (
    Denoise,
    Exclude,
    Floor,
    FollowLinks,
    Include,
    Iterations,
    LogFormat,
    Passes,
    StorageOptions,
    Strength,
    check_estimate_size,
    check_ranges,
    loaded,
    look_of,
    optional,
    positional,
    selection_of,
)
from jobs.progress import Progress
from model import DEFAULT_WEIGHTS, Checkpoint, EstimateSize
from pipeline.errors import ClusterError, MissingExtra, UsageError, failed_import, plural
from pipeline.images.contact_sheet import SheetRow, coded, contact_sheet
from pipeline.images.extras import extra
from pipeline.photos import MAX_PIXELS
from pipeline.planning.same_place import proven
from pipeline.storage.credentials import parse_options
from pipeline.storage.ownership import Claim
from pipeline.storage.storage import Storage
from pipeline.storage.urls import WEB, absolute, is_same, join, protocol_of, redacted

if TYPE_CHECKING:
    from pipeline.flow.supervised_step import Handle

log = logging.getLogger("nightlift")

SCORES, SUMMARY = "nightlift_scores.csv", "nightlift_summary.csv"
OURS = Claim(anything=True)  # whatever has these names was written by nightlift
NONE = "none"  # value of --weights: no network, only the photos as they are
SHOWN_PROBLEMS = 10
WORKER_BYTES = 1e9  # memory of a worker
SHOWN_NAMES = 3  # of references without a photo
SHEET_WIDTH_PX = 2400  # approximate: each column is 200 to 480 pixels wide
MOST_SHEET_ROWS = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """Score photos as they are and as networks enhance them, with several networks side by side.

    Prints a table of means, and writes the scores of each photo, the means and a contact sheet to OUT, but no enhanced
    photos. If interrupted, it writes the scores that it has so far.

    Examples:
      nightlift evaluate photos scores
      nightlift evaluate night scores --ref day --weights dce mine.pth

    Exit status: 0 all scored; 1 some photos were left out and are listed, or Ray could not continue; 2 wrong usage or
    nothing to read; 130, 143 or 129 stopped by Ctrl-C, SIGTERM or SIGHUP.
    """

    src: Annotated[str, positional("SRC")]
    """Photos to score: a folder with its subfolders, a file, a quoted glob, or a URL (s3://, gs://, az://, https://)."""
    out: Annotated[str, positional("OUT")]
    """Folder or bucket URL for the results: nightlift_scores.csv, nightlift_summary.csv and nightlift_sheet.jpg."""

    ref: Annotated[str | None, optional("REF")] = None
    """Reference photos, which show what the results should look like: a folder, a file, a quoted glob, or a URL.
    A reference has the same path as its photo, but may have another extension.
    Adds the scores PSNR, SSIM and MAE. Needs nightlift[evaluate]. By default there are no references."""
    weights: Annotated[tuple[str, ...], Shown(metavar="NAME|FILE")] = ("dce", "plus")
    """Networks to score: dce, plus, .safetensors files, published Zero-DCE .pth files, or none.
    The photos themselves, without enhancement, are always scored."""

    iterations: Iterations = 8
    strength: Strength = 1.0
    passes: Passes = 1
    denoise: Denoise = "auto"
    floor: Floor = "auto"
    estimate_size: EstimateSize = "auto"
    """Long side in pixels of the reduced copy that networks see, 16 or more; full: no reduction.
    auto: the size that each network was trained for, which is full for published ones."""
    max_pixels: int = MAX_PIXELS
    """Leave out photos with more pixels than this, counting all frames of an animation."""

    sheet_rows: int = 6
    """Number of photos on the contact sheet, 0 (no sheet) to 40, spread evenly over all photos."""
    include: Include = ()
    exclude: Exclude = ()
    follow_links: FollowLinks = False
    limit: Annotated[int | None, optional("INT")] = None
    """Score at most this many photos. By default all photos."""
    workers: Annotated[int | None, optional("INT")] = None
    """Number of photos to score at the same time. By default the number of CPU cores in the cluster."""
    storage_options: StorageOptions = "{}"
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        check_ranges(self, limit=(1, None), workers=(1, None), sheet_rows=(0, MOST_SHEET_ROWS), max_pixels=(1, None))
        check_estimate_size(self.estimate_size)
        for name, place in (("SRC", self.src), ("OUT", self.out), ("--ref", self.ref)):
            if place is not None and not place.strip():
                raise UsageError(f"{name} is empty; give a folder, a file or a URL")
        if protocol_of(self.out) in WEB:
            raise UsageError(
                f"{redacted(self.out)}: cannot write to a web server; give a folder or a bucket URL as OUT"
            )
        for place in (self.src, self.ref):
            if place and is_same(absolute(place), absolute(self.out)):
                raise UsageError(
                    f"{self.out}: OUT must differ from SRC and --ref, or its contact sheet is read as a photo"
                )


def run(config: EvaluateConfig) -> int:
    """Run the whole job. Returns the exit status; raises NightliftError for what stops it.

    If it is stopped after the first photo, the scores so far are written before the error is raised.
    """
    if config.ref:
        try:
            extra("skimage.metrics", "evaluate", "--ref needs scikit-image for SSIM; to compute it")
        except MissingExtra as error:
            raise UsageError(str(error)) from None
    networks = named_networks(config.weights)
    places = [config.src, config.out, *([config.ref] if config.ref else [])]
    storage = Storage.from_environment(places, parse_options(config.storage_options))
    out = absolute(config.out)
    if storage.exists(out) and not storage.is_folder(out):
        raise UsageError(f"{out}: is a file; OUT must be a folder")
    found = find_pairs(
        storage,
        config.src,
        config.ref,
        selection_of(config),
        outside=out,
    )
    pairs = found.pairs[: config.limit]
    if found.ignored:
        log.info("left out %s not named like photos, such as %s", plural(len(found.ignored), "file"), found.ignored[0])
    if found.unused:
        first = ", ".join(found.unused[:SHOWN_NAMES])
        log.info("left out %s without a photo, such as %s", plural(len(found.unused), "reference"), first)
    if not pairs and not found.problems:
        raise UsageError(
            f"{redacted(config.src)}: no photos found that nightlift reads, or none that --include and --exclude select"
        )
    storage = proven(storage, out, found.roots)
    evaluation = Evaluation(
        storage=storage,
        networks=networks,
        look=look_of(config),
        estimate_size=config.estimate_size,
        max_pixels=config.max_pixels,
    )
    judgements = list(found.problems)
    if pairs:
        log_expiry(storage)
        with ray_cluster(config.workers), _rescued(storage, out, judgements):
            from pipeline.flow.supervised_step import has_begun, new_attempts  # Ray: only once there is work

            attempts = new_attempts()
            with watched(partial(has_begun, attempts)) as watch:
                for judgement in _judged(evaluation, pairs, config, attempts):
                    watch.moved()
                    judgements.append(judgement)
    judgements.sort(key=lambda judgement: judgement.name)
    _report(judgements, _write_scores(storage, out, judgements))
    if shown := [judgement for judgement in judgements if judgement.images]:
        storage.write(join(out, SHEET), _sheet(shown), OURS)
        print(join(out, SHEET))
    return 1 if any(judgement.problem for judgement in judgements) else 0


def named_networks(weights: Sequence[str]) -> dict[str, Checkpoint]:
    """Load the networks, by their names in the table: the file name without extension, or if ambiguous the path.

    Raises UsageError.
    """
    shipped = {str(name): path for name, path in DEFAULT_WEIGHTS.items()}
    paths = [shipped.get(name) or Path(name) for name in dict.fromkeys(weights) if name != NONE]
    stems = [path.stem for path in paths]
    networks: dict[str, Checkpoint] = {}
    for path in paths:
        unique = stems.count(path.stem) == 1 and path.stem not in (INPUT, REFERENCE)
        if not path.suffix and not path.exists():
            raise UsageError(f'unknown --weights "{path}"; choose from dce, plus, none, or give files')
        networks[path.stem if unique else str(path)] = loaded(path)
    return networks


def _judged(
    evaluation: Evaluation, pairs: Sequence[Pair], config: EvaluateConfig, attempts: "Handle"
) -> Iterator[Judgement]:
    """Yield a judgement for each pair as it is ready: one Ray task each, as many at a time as there are workers.

    `attempts`: the actor that records each photo that a worker begins. Raises ClusterError.
    """
    import ray

    rows = min(config.sheet_rows, len(pairs))
    on_sheet = {index * len(pairs) // rows for index in range(rows)}
    judge = ray.remote(num_cpus=1, max_retries=1)(_judge)
    shared = ray.put(evaluation)
    todo = iter(enumerate(pairs))
    workers = config.workers or room_on_cpus(WORKER_BYTES)
    log.info("scoring %s with %s", plural(len(pairs), "photo"), plural(workers, "worker"))
    progress = Progress(len(pairs), "photo")
    under_way: dict[ray.ObjectRef[Judgement], Pair] = {}
    try:
        while True:
            try:
                for index, pair in islice(todo, max(0, workers - len(under_way))):
                    under_way[judge.remote(shared, pair, index in on_sheet, attempts)] = pair
                if not under_way:
                    return
                ready, _ = ray.wait(list(under_way))
            except ray.exceptions.RayError as error:
                raise ClusterError(
                    f"Ray ended the job ({type(error).__name__}: {error}); run the same command again"
                ) from error
            pair = under_way.pop(ready[0])
            try:
                judgement = ray.get(ready[0])
            except ray.exceptions.RayError as error:
                if lacking := failed_import(error):
                    raise lacking from error
                reason = (
                    f"{pair.name}: two workers died on it, from a crash or lack of memory ({type(error).__name__}); "
                    "try fewer --workers, or leave it out with --exclude"
                )
                judgement = Judgement(name=pair.name, problem=reason)
            progress.advance(failed=bool(judgement.problem))
            yield judgement
    finally:
        progress.close()


def _judge(evaluation: Evaluation, pair: Pair, with_images: bool, attempts: "Handle") -> Judgement:
    attempts.begin.remote(pair.name)
    return evaluation(pair, with_images=with_images)


@contextmanager
def _rescued(storage: Storage, out: str, judgements: Sequence[Judgement]) -> Iterator[None]:
    """Write the scores so far if anything interrupts the body after it has added judgements."""
    before = len(judgements)
    try:
        yield
    except BaseException:
        if added := len(judgements) - before:
            _write_scores(storage, out, judgements)
            log.warning("stopped after %s; the scores are in %s", plural(added, "photo"), join(out, SCORES))
        raise


def _write_scores(storage: Storage, out: str, judgements: Sequence[Judgement]) -> list[str]:
    """Write both CSV files to OUT. Returns where they are."""
    files = {SCORES: scores_csv(judgements), SUMMARY: summary_csv(judgements)}
    for name, content in files.items():
        storage.write(join(out, name), content, OURS)
    return [join(out, name) for name in files]


def _sheet(judgements: Sequence[Judgement]) -> bytes:
    versions = list(dict.fromkeys(version for judgement in judgements for version in judgement.images))
    side = max(200, min(480, SHEET_WIDTH_PX // len(versions)))
    rows = [
        SheetRow(
            caption=judgement.name,
            images=[judgement.images.get(version) for version in versions],
            notes=[line(judgement.scores[version]) if version in judgement.scores else "" for version in versions],
        )
        for judgement in judgements
    ]
    return coded(contact_sheet(versions, rows, cell_px=(side, side)), SHEET)


def _report(judgements: Sequence[Judgement], written: Sequence[str]) -> None:
    """Print the table, what was left out, and where the files are."""
    problems = [judgement.problem for judgement in judgements if judgement.problem]
    if len(problems) < len(judgements):
        print(table(judgements))
    for sentence in without_score(judgements):
        print(sentence)
    if problems:
        print(f"{plural(len(problems), 'photo')} left out:", *problems[:SHOWN_PROBLEMS], sep="\n  ")
    if len(problems) > SHOWN_PROBLEMS:
        print(f"  ... and {len(problems) - SHOWN_PROBLEMS} more, listed in {SCORES}")
    print(*written, sep="\n")
