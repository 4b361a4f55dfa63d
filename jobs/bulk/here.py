"""A few small files, enhanced without Ray: by one child process, so that a codec that crashes costs no other file.

Ray takes ten seconds to start; what is done sooner is done here. The steps are the same, and so are their outcomes.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from jobs.bulk.config import BulkConfig
from jobs.bulk.estimate import RAY_START_S, px_of
from jobs.bulk.job import Job, Worker
from jobs.command_line.logs import steps
from jobs.progress import in_sight
from model import cuda_problem, load_numba
from pipeline.errors import ClusterError, plural
from pipeline.flow.attempts import ATTEMPTS, timed_out, worker_died
from pipeline.flow.time_limit import allowed_s, renew, time_limit
from pipeline.planning.media_kinds import VIDEOS
from pipeline.planning.plan import Plan
from pipeline.process import use_one_core
from pipeline.records import Outcome, Record
from pipeline.sequences.light_over_time import REACH
from pipeline.storage.storage import Storage

SECONDS_A_FILE, SECONDS_A_MB = 0.05, 0.3
SLOW_SECONDS_A_MB = {".avif": 8.0, ".webp": 1.5, ".gif": 3.0}  # by what is written
SECONDS_A_VIDEO, SECONDS_A_MEGAPIXEL = 0.5, 0.15  # of all frames together
VIDEO_SECONDS_A_MB = 8.0  # where the header does not tell how many frames there are
TIMED_OUT = "timed out"
HEADER_S = 30.0  # time limit for the header of a video
PRELOADED = [__name__, "pipeline.photos", "pipeline.videos"]
EVENT_LOOP = "fsspecIO"  # name of the thread in which fsspec runs it


def may_be_done_here(config: BulkConfig) -> bool:
    """Return whether neither a flag, nor the environment, nor a GPU asks for Ray."""
    gpu = config.device in ("cuda", "mps") or (config.device == "auto" and not cuda_problem())
    return not (config.asks_for_ray or gpu)


def is_too_little_for_ray(
    jobs: Sequence[Job], plans: Sequence[Plan], px_of: Callable[[Record, Storage], float] = px_of
) -> bool:
    """Return whether Ray would take longer to start than all the work takes here.

    `px_of`: returns the pixels that a video announces, for a few videos.
    """
    work_s = 0.0
    for job, plan in zip(jobs, plans, strict=True):
        for record in plan.records:
            work_s += _estimated_s(record, job, px_of)
            if work_s > RAY_START_S:
                return False
    return True


def _estimated_s(record: Record, job: Job, px_of: Callable[[Record, Storage], float]) -> float:
    """Estimate roughly how long one core takes, from the size and kind of a photo, or the header of a video."""
    size_mb = record.size_bytes / 1e6
    if job.media.kind is VIDEOS:
        frames_px = px_of(record, job.storage)
        work_s = SECONDS_A_MEGAPIXEL * frames_px / 1e6 if frames_px else VIDEO_SECONDS_A_MB * size_mb
        return SECONDS_A_VIDEO + work_s
    suffix = Path(record.destination).suffix.lower()
    return SECONDS_A_FILE + SLOW_SECONDS_A_MB.get(suffix, SECONDS_A_MB) * size_mb


def outcomes_here(child: "Child", job: Job, plan: Plan) -> Generator[Outcome]:
    """Yield exactly one outcome for each record of a plan, in their order.

    A file at which the child died `ATTEMPTS` times has the code `worker_died`; one that took too long is not tried
    again, and has the code `timed_out`. Raises ClusterError where no worker can be made.
    """
    steps.info("enhancing %s on this machine, without Ray", plural(len(plan.records), job.noun))
    child.take_up(job)
    yield from in_sight(map(child.outcome, plan.records), len(plan.records), job.noun)


@dataclass(frozen=True, slots=True)
class _Header:
    """A question to the child: how many pixels this video announces."""

    record: Record
    storage: Storage


@dataclass(frozen=True, slots=True)
class _At:
    """What the child says before it answers: at which file it is from now on."""

    url: str


class Child:
    """A process that enhances one file after the other, and is started again where it dies.

    Made before this process touches storage, it is forked, so that it has all packages at once. Later it must not have
    the connections that are open here: it is forked from a fresh process, which loads the packages once, in seconds.

    `early`: whether it may start before there is work.
    """

    def __init__(self, *, early: bool = True) -> None:
        self._make, self._time_limit_s = b"", 0.0
        self._at = ""  # URL of the file that the child is at
        self._failures: Counter[str] = Counter()  # how often it died, or took too long, by the file that it was at
        self._too_slow: dict[str, int] = {}  # attempts at those that took too long
        self._process: Any = None
        self._pipe: Connection | None = None
        if early and _may_fork():
            self._start()

    def take_up(self, job: Job) -> None:
        """Do the work of this job from now on."""
        self._make = pickle.dumps(job.media.worker(job))
        self._time_limit_s = job.config.time_limit
        if self._pipe is not None:
            with suppress(OSError):  # it has died: the first record starts another one
                self._pipe.send((self._make, self._time_limit_s))

    def outcome(self, record: Record) -> Outcome:
        """Enhance a file, in several attempts where the process dies. Raises ClusterError where it cannot work."""
        while self._failures[record.source] < ATTEMPTS:
            self._at = record.source
            answer = self._ask(self._without_fatal(record))
            if isinstance(answer, Outcome):
                answer.attempts = self._failures[record.source] + 1
                return answer
            self.end()
            if isinstance(answer, ClusterError):
                raise answer
            self._failures[self._at] += 1
            if answer == TIMED_OUT:
                self._too_slow[self._at], self._failures[self._at] = self._failures[self._at], ATTEMPTS
        if record.source in self._too_slow:
            return timed_out(Outcome.of(record), self._too_slow[record.source], self._time_limit_s)
        return worker_died(Outcome.of(record))

    def _without_fatal(self, record: Record) -> Record:
        """Return the record with the photos around it in its sequence, but those at which the child died too often."""
        if record.place is None:
            return record
        place = record.place.within(REACH)
        left = ("" if self._failures[url] >= ATTEMPTS else url for url in place.urls)
        return replace(record, place=replace(place, urls=tuple(left)))

    def px_of(self, record: Record, storage: Storage) -> float:
        """Return the pixels of all frames that a video announces; 0 if it does not, or the process dies of it."""
        answer = self._ask(_Header(record, storage))
        if isinstance(answer, float):
            return answer
        self.end()
        return 0.0

    def end(self) -> None:
        """Kill the process, which may be at a file."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def _ask(self, question: Record | _Header) -> object:
        """Return the outcome, or the number of pixels; TIMED_OUT; why there is no worker; None if the process died."""
        try:
            if self._pipe is None:
                self._start().send((self._make, self._time_limit_s))
            assert self._pipe is not None
            self._pipe.send(question)
            while isinstance(answer := self._pipe.recv(), _At):
                self._at = answer.url
            return answer
        except (EOFError, OSError):
            return None
        except BaseException:  # stopped while it is at this file: it must write nothing more
            self.end()
            raise

    def _start(self) -> Connection:
        method = _start_method()
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(PRELOADED)
        self._pipe, its_end = context.Pipe()
        arguments = (its_end, self._pipe if method == "fork" else None, dict(os.environ))
        self._process = context.Process(target=_work, args=arguments, daemon=True)  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of threads: those that are left are idle
            self._process.start()
        its_end.close()
        return self._pipe


def _start_method() -> str:
    """Return how a child is started, as `multiprocessing` calls it. Only on Linux may system libraries be forked."""
    return "fork" if _may_fork() else "forkserver" if sys.platform == "linux" else "spawn"


def _may_fork() -> bool:
    """Return whether this process may be forked.

    Not where it has an event loop, whose sockets the child would unregister: fsspec starts one in a thread with its
    first file system. Not where it has loaded Ray, whose core stops answering after a fork. And on Linux only:
    elsewhere libraries of the system forbid it.
    """
    has_event_loop = any(thread.name == EVENT_LOOP for thread in threading.enumerate())
    return sys.platform == "linux" and "ray" not in sys.modules and not has_event_loop


def _work(pipe: Connection, other_end: Connection | None, environment: Mapping[str, str]) -> None:
    """Enhance what comes through the pipe, in the child, until it is closed or the parent is gone."""
    os.environ.clear()  # of the process it was forked from, which may be older than the parent's
    os.environ.update(environment)
    if other_end is not None:
        other_end.close()  # else this process would keep its own pipe open
    _leave_signals_to_the_parent()
    use_one_core()
    with suppress(Exception):  # what is wrong is told by the first file
        load_numba()  # while the parent lists
    worker, limit_s = _made(b""), 0.0  # no job was taken up yet
    while True:
        try:
            message = pipe.recv()
        except EOFError:
            return
        if isinstance(message, Record):
            with time_limit(allowed_s(limit_s, message.size_bytes), lambda: pipe.send(TIMED_OUT)):
                answer: object = worker(message, partial(_go_on, pipe, limit_s, message))
            pipe.send(answer)
        elif isinstance(message, _Header):
            with time_limit(HEADER_S, lambda: pipe.send(TIMED_OUT)):
                announced = px_of(message.record, message.storage)
            pipe.send(float(announced))
        else:
            make, limit_s = message
            worker = _made(make)


def _go_on(pipe: Connection, limit_s: float, record: Record, at: str = "") -> None:
    """Give the work more time; tell the parent of another file, which is taken to be about as large."""
    renew(allowed_s(limit_s, record.size_bytes) if at else limit_s)
    if at:
        pipe.send(_At(at))


def _made(make: bytes) -> Worker:
    """Make the worker; where that fails, one that answers with the error."""
    try:
        worker: Worker = pickle.loads(make)()
        return worker
    except Exception as error:
        failure = ClusterError(f"no worker can be started ({type(error).__name__}: {error})")
        return lambda record, on_part: failure  # type: ignore[return-value]


def _leave_signals_to_the_parent() -> None:
    """Ignore Ctrl-C, which reaches all processes of a terminal: the parent kills this one. Hide what codecs print."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
