"""The evaluation job: `nightlift evaluate SRC OUT`, or `python -m jobs.evaluate SRC OUT` from a checkout."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import arg

from jobs.cluster.canary import watched
from jobs.cluster.joining import cluster_cpus, ray_cluster
from jobs.evaluate.score_tables import line, scores_csv, summary_csv, table, without_score
from jobs.evaluate.scoring import INPUT, REFERENCE, Evaluation, Judgement, Pair, find_pairs
from jobs.flags import check_estimate_size, check_ranges, loaded, look_of
from jobs.progress import Progress
from model import DEFAULT_WEIGHTS, Checkpoint, EstimateSize
from pipeline.errors import ClusterError, UsageError, failed_import
from pipeline.images.contact_sheet import SheetRow, coded, contact_sheet
from pipeline.photos import MAX_PIXELS
from pipeline.planning.plan import Selection
from pipeline.planning.same_place import proven
from pipeline.storage.credentials import parse_options
from pipeline.storage.ownership import Claim
from pipeline.storage.storage import Storage
from pipeline.storage.urls import WEB, absolute, is_same, join, protocol_of, redacted

if TYPE_CHECKING:
    from pipeline.flow.supervised_step import Handle

log = logging.getLogger("nightlift")

SCORES, SUMMARY, SHEET = "nightlift_scores.csv", "nightlift_summary.csv", "nightlift_sheet.jpg"
OURS = Claim(anything=True)  # whatever has these names was written by nightlift
NONE = "none"  # value of --weights: no network, only the photos as they are
SHOWN_PROBLEMS = 10
SHOWN_NAMES = 3  # of references without a photo
SHEET_WIDTH_PX = 2400  # approximate: each column is 200 to 480 pixels wide
MOST_SHEET_ROWS = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """Score photos as they are and as networks enhance them, with several networks side by side.

    Prints a table of means, and writes the scores of each photo, the means and a contact sheet to OUT, but no enhanced
    photos. If interrupted, it writes the scores it has so far. Exit status: 0 all scored, 1 some photos left out (each
    is named) or Ray could not continue, 2 wrong usage or nothing to read.
    """

    src: tyro.conf.Positional[Annotated[str, arg(metavar="SRC")]]
    """Photos: a folder (with all below it), a file, a quoted glob, or a URL (s3://, gs://, az://, https://)."""
    out: tyro.conf.Positional[Annotated[str, arg(metavar="OUT")]]
    """Folder or bucket URL for nightlift_scores.csv, nightlift_summary.csv and nightlift_sheet.jpg."""

    ref: Annotated[str | None, arg(metavar="REF")] = None
    """What the results should look like: photos at the same paths below another folder; extensions may differ. Adds
    PSNR, SSIM and MAE. Needs nightlift[evaluate]."""
    weights: Annotated[tuple[str, ...], arg(metavar="NAME|FILE")] = ("dce", "plus")
    """Networks: dce, plus, .safetensors files, published .pth files, or none; unenhanced photos are always scored."""

    iterations: int = 8
    """Steps of the light-enhancement curve, 0 to 16."""
    strength: float = 1.0
    """Scale of the curve maps, 0 to 2."""
    passes: int = 1
    """Number of times that the whole enhancement is applied, each time to the previous result, 1 to 4."""
    denoise: float | Literal["auto"] = "auto"
    """Noise to smooth where the curve amplifies it. auto: as much as is measured; 0: none; 1: one 8-bit level."""
    floor: Literal["auto", "off"] = "auto"
    """auto: what the camera did not see stays dark and grey; off: everything is brightened alike."""
    estimate_size: EstimateSize = "auto"
    """Long side in pixels of the reduced copy that networks see. auto: the size each was trained for, which is full
    size for published ones."""
    max_pixels: int = MAX_PIXELS
    """Leave out photos with more pixels than this."""

    sheet_rows: int = 6
    """Photos on the contact sheet, spread evenly over all; 0 for no sheet."""
    include: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Use only paths below SRC that match this pattern ('*.jpg', '2024/*'); may be given several times."""
    exclude: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Leave out paths below SRC that match this pattern; may be given several times."""
    limit: Annotated[int | None, arg(metavar="INT")] = None
    """Score at most this many photos."""
    workers: Annotated[int | None, arg(metavar="INT")] = None
    """Photos processed at once. Default: the number of CPU cores in the cluster."""
    storage_options: Annotated[str, arg(metavar="JSON")] = "{}"
    """fsspec options for buckets, such as '{"anon": true}'; for several kinds of bucket, keyed by protocol."""

    def __post_init__(self) -> None:
        check_ranges(self, limit=(1, None), workers=(1, None), sheet_rows=(0, MOST_SHEET_ROWS), max_pixels=(1, None))
        check_estimate_size(self.estimate_size)
        for name, place in (("SRC", self.src), ("OUT", self.out), ("--ref", self.ref)):
            if place is not None and not place.strip():
                raise UsageError(f"{name} is empty; give a folder, a file or a URL")
        if protocol_of(self.out) in WEB:
            raise UsageError(
                f"{redacted(self.out)}: a web server is a source, not a destination; give a folder or a bucket"
            )
        for place in (self.src, self.ref):
            if place and is_same(absolute(place), absolute(self.out)):
                raise UsageError(f"{self.out}: OUT is where the photos are; its contact sheet would be taken for one")


def run(config: EvaluateConfig) -> int:
    """Run the whole job. Returns the exit status; raises NightliftError for what stops it.

    If it is stopped after the first photo, the scores so far are written before the error is raised.
    """
    if config.ref and find_spec("skimage") is None:
        raise UsageError('--ref needs scikit-image, for SSIM: pip install "nightlift[evaluate]"')
    networks = named_networks(config.weights)
    places = [config.src, config.out, *([config.ref] if config.ref else [])]
    storage = Storage.from_environment(places, parse_options(config.storage_options))
    out = absolute(config.out)
    if storage.exists(out) and not storage.is_folder(out):
        raise UsageError(f"{out}: is a file; give a folder")
    found = find_pairs(
        storage,
        config.src,
        config.ref,
        Selection(include=config.include, exclude=config.exclude),
        outside=out,
    )
    pairs = found.pairs[: config.limit]
    if found.ignored:
        log.info("no photos by their names: %d files, such as %s", len(found.ignored), found.ignored[0])
    if found.unused:
        first = ", ".join(found.unused[:SHOWN_NAMES])
        log.info("references without a photo, left aside: %d, such as %s", len(found.unused), first)
    if not pairs and not found.problems:
        raise UsageError(f"{redacted(config.src)}: no photos there that nightlift reads, or none that were let through")
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
        with ray_cluster(config.workers), _rescued(storage, out, judgements):
            from pipeline.flow.supervised_step import has_begun, new_attempts  # Ray: only once there is work

            attempts = new_attempts()
            with watched(partial(has_begun, attempts)) as watch:
                for judgement in _judged(evaluation, pairs, config, attempts):
                    watch.moved()
                    judgements.append(judgement)
    judgements.sort(key=lambda judgement: judgement.name)
    _report(judgements, _write_scores(storage, out, judgements))
    if pictured := [judgement for judgement in judgements if judgement.pictures]:
        storage.write(join(out, SHEET), _sheet(pictured), OURS)
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
            raise UsageError(f"--weights {path}: no network of that name; give dce, plus, none, or files")
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
    workers = config.workers or cluster_cpus()
    log.info("scoring %d photos with %d workers", len(pairs), workers)
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
                raise ClusterError(f"Ray ended the job ({type(error).__name__}: {error})") from error
            pair = under_way.pop(ready[0])
            try:
                judgement = ray.get(ready[0])
            except ray.exceptions.RayError as error:
                if lacking := failed_import(error):
                    raise lacking from error
                reason = (
                    f"{pair.name}: two workers died at it, of a crash or for want of memory ({type(error).__name__})"
                )
                judgement = Judgement(name=pair.name, problem=reason)
            progress.advance(failed=bool(judgement.problem))
            yield judgement
    finally:
        progress.close()


def _judge(evaluation: Evaluation, pair: Pair, with_pictures: bool, attempts: "Handle") -> Judgement:
    attempts.begin.remote(pair.name)
    return evaluation(pair, with_pictures=with_pictures)


@contextmanager
def _rescued(storage: Storage, out: str, judgements: Sequence[Judgement]) -> Iterator[None]:
    """Write the scores so far if anything interrupts the body after it has added judgements."""
    before = len(judgements)
    try:
        yield
    except BaseException:
        if added := len(judgements) - before:
            _write_scores(storage, out, judgements)
            log.warning("broken off after %d photos: their scores are in %s", added, join(out, SCORES))
        raise


def _write_scores(storage: Storage, out: str, judgements: Sequence[Judgement]) -> list[str]:
    """Write both CSV files to OUT. Returns where they are."""
    files = {SCORES: scores_csv(judgements), SUMMARY: summary_csv(judgements)}
    for name, content in files.items():
        storage.write(join(out, name), content, OURS)
    return [join(out, name) for name in files]


def _sheet(judgements: Sequence[Judgement]) -> bytes:
    versions = list(dict.fromkeys(version for judgement in judgements for version in judgement.pictures))
    side = max(200, min(480, SHEET_WIDTH_PX // len(versions)))
    rows = [
        SheetRow(
            caption=judgement.name,
            pictures=[judgement.pictures.get(version) for version in versions],
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
        print(f"{len(problems)} photos left out:", *problems[:SHOWN_PROBLEMS], sep="\n  ")
    if len(problems) > SHOWN_PROBLEMS:
        print(f"  ... and {len(problems) - SHOWN_PROBLEMS} more: see {SCORES}")
    print(*written, sep="\n")
