"""Metrics of a running job, which Ray exports for Prometheus.

Each node serves the metrics of its own processes at its metrics port. There names begin with `ray_`, and those of
counters end in `_total`. The driver counts each outcome once, except files refused for their name or place. Workers
count frames and batches, including repeated ones.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence

from ray.util.metrics import Counter, Gauge, Histogram

from model import Enhancer
from pipeline.periodically import repeating
from pipeline.records import Outcome

BOUNDS_S: list[float] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000]
BOUNDS: list[float] = [1, 2, 4, 8, 16, 32, 64]
SHOW_AGAIN_S = 3.0  # Ray reports every 10 s, and drops a gauge that was not set since
STAGES = "read", "decode", "enhance", "encode", "write"

FILES = Counter("nightlift_files", "Finished files, by outcome.", ("kind", "outcome", "code"))
FILES_LEFT = Gauge("nightlift_files_left", "Planned files that have no outcome yet.", ("kind",))
FRAMES = Counter("nightlift_frames", "Frames of finished files.", ("kind", "outcome"))
READ_BYTES = Counter("nightlift_read_bytes", "Bytes of the sources of finished files.", ("kind",))
WRITTEN_BYTES = Counter("nightlift_written_bytes", "Bytes of the outputs that were written.", ("kind",))
SECONDS = Counter("nightlift_seconds", "Seconds spent in each stage, for files that are done.", ("kind", "stage"))
STAGE_SECONDS = Histogram(  # for quantiles: Ray exports the count between two bounds, but no exact sum
    "nightlift_stage_seconds",
    "Seconds that a stage took per file, for files that are done.",
    BOUNDS_S,
    ("kind", "stage"),
)
FRAMES_ENHANCED = Counter("nightlift_frames_enhanced", "Video frames that workers have enhanced.")
BATCH_IMAGES = Histogram("nightlift_batch_images", "Images per batch of the network.", BOUNDS, ("device",))
BATCH_SECONDS = Histogram("nightlift_batch_seconds", "Seconds per batch of the network.", BOUNDS_S, ("device",))
OUT_OF_MEMORY = Counter("nightlift_out_of_memory", "Times that a batch was halved for lack of memory.", ("device",))
TRAINING_EPOCH = Gauge("nightlift_training_epoch", "Finished epochs.")
TRAINING_STEPS = Gauge("nightlift_training_steps", "Finished steps.")
TRAINING_LOSS = Gauge("nightlift_training_loss", "Weighted losses of the last finished epoch.", ("part", "loss"))


def counted(kind: str, outcomes: Iterable[Outcome], planned: int) -> Generator[Outcome]:
    """Yield the same outcomes, counted as they pass. `planned`: how many will come. Needs an initialised Ray."""
    left = planned

    def show() -> None:
        FILES_LEFT.set(left, {"kind": kind})

    show()
    with repeating(SHOW_AGAIN_S, show):
        for outcome in outcomes:
            _count(kind, outcome)
            left -= 1
            show()
            yield outcome


def _count(kind: str, outcome: Outcome) -> None:
    FILES.inc(1, {"kind": kind, "outcome": outcome.outcome, "code": outcome.code})
    _add(FRAMES, outcome.frames, kind=kind, outcome=outcome.outcome)
    _add(READ_BYTES, outcome.bytes_in, kind=kind)
    _add(WRITTEN_BYTES, outcome.bytes_out, kind=kind)
    if outcome.outcome == "done":
        for stage in STAGES:
            seconds = getattr(outcome, f"seconds_{stage}")
            _add(SECONDS, seconds, kind=kind, stage=stage)
            STAGE_SECONDS.observe(seconds, {"kind": kind, "stage": stage})


def _add(counter: Counter, number: float, **tags: str) -> None:
    if number:  # Ray rejects an increment of 0
        counter.inc(number, tags)


def watch_batches(enhancer: Enhancer, device: str) -> None:
    """Count the network's batches in this worker from now on."""
    tags = {"device": device}

    def on_batch(images: int, seconds: float) -> None:
        BATCH_IMAGES.observe(images, tags)
        BATCH_SECONDS.observe(seconds, tags)

    enhancer.on_batch = on_batch
    enhancer.on_out_of_memory = lambda: OUT_OF_MEMORY.inc(1, tags)


def show_training(steps: int, history: Sequence[Mapping[str, float]]) -> None:
    """Set the gauges of a training after `steps` finished steps.

    `history`: a row for each finished epoch, with columns `training_LOSS` and `validation_LOSS` for each loss.
    """
    TRAINING_STEPS.set(steps)
    TRAINING_EPOCH.set(len(history))
    for column, value in history[-1].items() if history else ():
        part, _, loss = column.partition("_")
        if part in ("training", "validation"):
            TRAINING_LOSS.set(value, {"part": part, "loss": loss})
