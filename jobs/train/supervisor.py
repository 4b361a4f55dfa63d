"""The supervisor of Ray Train: starts it, starts it again when a node is lost, and explains the error that ends it."""

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
from jobs.cluster.network_interface import NodeAddresses
from jobs.train.placement import Crew
from jobs.train.training_run import TrainingRun
from jobs.train.worker import train_worker
from pipeline.errors import ClusterError, NightliftError, UsageError, failed_import

log = logging.getLogger("nightlift")

DEATHS = WorkerGroupError, PreemptionError, RayError
STARTUP_FAILED, STARTUP_TIMEOUT = (
    "WorkerGroupStartupFailedError",
    "WorkerGroupStartupTimeoutError",
)  # exceptions private to Ray Train
MOST_DEATHS = 3  # tolerated without a finished epoch in between; one more ends the run, which can be resumed
STARTS = 10  # without a finished epoch, after which the run ends; Ray Train waits a minute for room in each
READ_AGAIN_S = 60.0  # without any lost block read again: then no node has room to do it
SHOWN = 120  # characters of an error that is only a warning


class TrainingSupervisor:
    """Ray Train in a thread of its own, so that another thread can watch it and be interrupted."""

    def __init__(self, run: TrainingRun, crew: Crew, choose_crew: Callable[[], Crew]) -> None:
        """Start to train. `choose_crew`: fits a crew to the cluster as it is then; raises UsageError if too small."""
        self.error: Exception | None = None
        """Why the training ended early: a NightliftError, or an unforeseen error; None if it did not."""
        self._choose_crew = choose_crew
        self._over, self._abandoned = threading.Event(), False
        threading.Thread(target=self._fit, args=(run, crew), name="training", daemon=True).start()

    def over(self, wait_s: float) -> bool:
        return self._over.wait(wait_s)

    def abandon(self) -> None:
        """Prevent further starts, as Ray may be gone."""
        self._abandoned = True

    def _fit(self, run: TrainingRun, crew: Crew) -> None:
        try:
            self._train_to_the_end(run, crew)
        except Exception as error:
            self.error = ended(error)
        finally:
            self._over.set()

    def _train_to_the_end(self, run: TrainingRun, crew: Crew) -> None:
        """Train to the last epoch; after each loss, start as many workers as there is room for.

        Before that, wait until lost images have been read again: workers that Ray Train restarts by itself might leave
        no processor free for it, and would wait for ever. Raises ClusterError, TrainingFailedError, RayError.
        """
        deaths = starts = epochs = 0
        while True:
            try:
                wait_for_blocks(run.images.blocks)
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
                    log.warning("the cluster has no room for %s at the moment", crew.words)
                    if starts == STARTS:
                        raise _no_room(crew, _failure(error)) from error
                else:
                    deaths += 1
                    if deaths > MOST_DEATHS or not _is_death(error):
                        raise
                    log.warning("lost a worker (%s)", shorten(last_line(_cause(error)), SHOWN))

    def _next_crew(self, crew: Crew) -> Crew:
        with suppress(UsageError):  # --workers asks for more than there is now; the lost node may come back
            crew = self._choose_crew()
        log.info("starting %s", crew.words)
        return crew


def wait_for_blocks(blocks: Sequence[Any]) -> None:
    """Wait until all blocks are available. Ray reads those lost with a node again once it knows of the loss.

    If it does not know yet, a worker that asks for a lost block waits for it, and ends after `IMAGE_S`. Raises
    TimeoutError if for `READ_AGAIN_S` none of the missing blocks was read.
    """
    missing = list(blocks)
    while missing:
        _, still = ray.wait(missing, num_returns=len(missing), timeout=READ_AGAIN_S, fetch_local=False)
        if len(still) == len(missing):
            raise TimeoutError(f"{len(still)} blocks of images were lost, and no node has room to read them again")
        missing = still


def _is_death(error: Exception) -> bool:
    """Return whether other workers can continue after this error."""
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
        f"{crew.words} could not be started ({last_line(failure)}); run the same command again to continue from the "
        "last finished epoch, with fewer --workers if the cluster has too few CPU cores or GPUs"
    )


def _epochs_done(run: TrainingRun) -> int:
    history, _, _ = ray.get(run.status.read.remote())
    return len(history)


def _train(run: TrainingRun, crew: Crew) -> None:
    """Run Ray Train once. Raises TrainingFailedError, or a RayError of its controller, for whatever is lost."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # notice a dead worker at once
    folder = tempfile.mkdtemp(prefix="nightlift-train-")  # Ray Train needs one; what must last is in the state
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
    """Convert an error that ended Ray Train to one to report: our own that caused it, if any, else a ClusterError."""
    cause = _cause(error)
    if isinstance(cause, NightliftError):
        return cause
    if not isinstance(error, TrainingFailedError | RayError):
        return error
    if lacking := failed_import(cause):
        return lacking
    return ClusterError(
        f"Ray ended the training ({last_line(cause)}); "
        "run the same command again to continue from the last finished epoch"
    )


def _cause(error: Exception) -> Exception:
    """Return the error of a worker or of Ray Train's controller; if there are several, preferably one of our own."""
    failures = [*getattr(error, "worker_failures", {}).values(), getattr(error, "controller_failure", None)]
    causes = [getattr(failure, "_base_exc", failure) for failure in failures if failure is not None] or [error]
    return next((cause for cause in causes if isinstance(cause, NightliftError)), causes[0])
