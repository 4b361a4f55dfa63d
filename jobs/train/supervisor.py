"""Ray Train at work: it is started, started again where a node is lost, and what ends it is put in our words."""

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from textwrap import shorten
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, LoggingConfig, PreemptionError, RunConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchTrainer

from jobs.cluster.canary import last_line
from jobs.train.network_interface import NodeAddresses
from jobs.train.placement import Crew
from jobs.train.state import TrainingRun
from jobs.train.worker import train_worker
from pipeline.errors import ClusterError, NightliftError, UsageError, failed_import

log = logging.getLogger("nightlift")

DEATHS = WorkerGroupError, PreemptionError, RayError
STARTUP_FAILED, STARTUP_TIMEOUT = (
    "WorkerGroupStartupFailedError",
    "WorkerGroupStartupTimeoutError",
)  # private to Ray Train
MOST_DEATHS = 3  # without an epoch gained, after which a training ends; it can be gone on with
STARTS = 10  # likewise, of all workers: Ray Train waits a minute for each to have room
READ_AGAIN_S = 60.0  # without a lost block that was read again: nobody has room to
SHOWN = 120  # characters of what is only told on the way


class Fitting:
    """Ray Train at work, in a thread of its own, so that another one can look on and be interrupted."""

    def __init__(self, run: TrainingRun, crew: Crew, choose_crew: Callable[[], Crew]) -> None:
        """`choose_crew`: by what the cluster has when it is called; raises UsageError where that is too little."""
        self.error: Exception | None = None
        """Why it ended before its time: a NightliftError, or what nobody foresaw."""
        self._choose_crew = choose_crew
        self._over, self._abandoned = threading.Event(), False
        threading.Thread(target=self._fit, args=(run, crew), name="training", daemon=True).start()

    def over(self, wait_s: float) -> bool:
        return self._over.wait(wait_s)

    def abandon(self) -> None:
        """Nothing is started from now on, as Ray may be gone."""
        self._abandoned = True

    def _fit(self, run: TrainingRun, crew: Crew) -> None:
        try:
            self._train_to_the_end(run, crew)
        except Exception as error:
            self.error = ended(error)
        finally:
            self._over.set()

    def _train_to_the_end(self, run: TrainingRun, crew: Crew) -> None:
        """To the last epoch, by whom there is room for after each loss. Raises ClusterError, TrainingFailedError.

        Workers that Ray Train would start again by itself might leave no processor free to read again the pictures
        that were lost with a node, for which they would wait for ever: so they are waited for first.
        """
        deaths = starts = epochs = 0
        while True:
            try:
                wait_for_blocks(run.pictures.blocks)
                if deaths or starts:
                    crew = self._next_crew(crew)
                return _train(replace(run, threads=crew.threads), crew)
            except (TrainingFailedError, RayError, TimeoutError) as error:
                if self._abandoned:
                    raise
                done = _epochs_done(run)
                if done > epochs:
                    deaths, starts, epochs = 0, 0, done
                if _is_want_of_room(_failure(error)):
                    starts += 1
                    log.warning("the cluster has no room for %s now", crew.words)
                    if starts == STARTS:
                        raise _no_room(crew, _failure(error)) from error
                else:
                    deaths += 1
                    if deaths > MOST_DEATHS or not _is_death(error):
                        raise
                    log.warning("a worker ended (%s)", shorten(last_line(_cause(error)), SHOWN))

    def _next_crew(self, crew: Crew) -> Crew:
        with suppress(UsageError):  # --workers asks for more than there is: what was lost may come back
            crew = self._choose_crew()
        log.info("starting %s", crew.words)
        return crew


def wait_for_blocks(blocks: Sequence[Any]) -> None:
    """Until all are there. Ray reads again those that were lost with a node once it knows of the loss.

    Where it does not know yet, a worker that asks for one waits for it, and ends after `PICTURE_S`. Raises TimeoutError
    where for `READ_AGAIN_S` none of those that are missing was read.
    """
    missing = list(blocks)
    while missing:
        _, still = ray.wait(missing, num_returns=len(missing), timeout=READ_AGAIN_S, fetch_local=False)
        if len(still) == len(missing):
            raise TimeoutError(f"{len(still)} blocks of pictures were lost, and nobody has room to read them again")
        missing = still


def _is_death(error: Exception) -> bool:
    """Whether other workers may go on from there."""
    cause = _cause(error)
    hopeless = isinstance(cause, ClusterError | ImportError) or failed_import(cause)
    failure = _failure(error)
    return (isinstance(failure, DEATHS) or type(failure).__name__ == STARTUP_FAILED) and not hopeless


def _is_want_of_room(failure: Exception) -> bool:
    return isinstance(failure, TimeoutError) or type(failure).__name__ == STARTUP_TIMEOUT


def _failure(error: Exception) -> Exception:
    return getattr(error, "controller_failure", error)


def _no_room(crew: Crew, failure: Exception) -> ClusterError:
    return ClusterError(
        f"{crew.words} could not be started ({last_line(failure)}); run the same command again, with fewer --workers "
        "where the cluster has too few processors, to go on from the last epoch"
    )


def _epochs_done(run: TrainingRun) -> int:
    history, _, _ = ray.get(run.board.read.remote())
    return len(history)


def _train(run: TrainingRun, crew: Crew) -> None:
    """Raises TrainingFailedError, or a RayError of Ray Train's controller, for whatever is lost."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # a dead worker is noticed at once
    folder = tempfile.mkdtemp(prefix="nightlift-train-")  # Ray Train wants one; what lasts is in the state
    try:
        TorchTrainer(
            train_worker,
            train_loop_config={"run": run},
            torch_config=NodeAddresses(),
            scaling_config=crew.scaling,
            run_config=RunConfig(  # type: ignore[call-arg]
                name="training",
                storage_path=folder,
                failure_config=FailureConfig(  # type: ignore[call-arg]
                    max_failures=0, max_preemption_failures=0, controller_failure_limit=0
                ),
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        ).fit()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ended(error: Exception) -> Exception:
    """What to tell of an error that ended Ray Train: our own where there is one behind it."""
    cause = _cause(error)
    if isinstance(cause, NightliftError):
        return cause
    if not isinstance(error, TrainingFailedError | RayError):
        return error
    if lacking := failed_import(cause):
        return lacking
    return ClusterError(
        f"Ray ended the training ({last_line(cause)}); run the same command again to go on from the last epoch"
    )


def _cause(error: Exception) -> Exception:
    """What happened to a worker, or to Ray Train's controller: of several our own error."""
    failures = [*getattr(error, "worker_failures", {}).values(), getattr(error, "controller_failure", None)]
    causes = [getattr(failure, "_base_exc", failure) for failure in failures if failure is not None] or [error]
    return next((cause for cause in causes if isinstance(cause, NightliftError)), causes[0])
