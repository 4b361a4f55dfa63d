"""Ray Train at work: it is started, started again where a node is lost, and what ends it is put in our words."""

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace

import ray
from ray.exceptions import RayError
from ray.train import ControllerError, FailureConfig, LoggingConfig, RunConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError  # public under no other name

from jobs.training_crew import Crew
from jobs.training_network import NodeAddresses
from jobs.training_run import TrainingRun
from jobs.training_worker import train_worker
from pipeline.errors import ClusterError, NightliftError, UsageError

log = logging.getLogger("nightlift")

WORKER_DEATHS = 3  # after which a training ends; it can be gone on with
STARTS = 10  # of all workers without an epoch gained: Ray Train waits a minute for each to have room


class Fitting:
    """Ray Train at work, in a thread of its own, so that another one can look on and be interrupted."""

    def __init__(self, run: TrainingRun, crew: Crew, choose_crew: Callable[[], Crew]) -> None:
        """`choose_crew`: by what the cluster has when it is called; raises UsageError where that is too little."""
        self.error: Exception | None = None
        """Why it ended before its time: a NightliftError, or what nobody foresaw."""
        self._choose_crew = choose_crew
        self._over = threading.Event()
        threading.Thread(target=self._fit, args=(run, crew), name="training", daemon=True).start()

    def over(self, wait_s: float) -> bool:
        return self._over.wait(wait_s)

    def _fit(self, run: TrainingRun, crew: Crew) -> None:
        try:
            self._train_to_the_end(run, crew)
        except Exception as error:
            self.error = ended(error)
        finally:
            self._over.set()

    def _train_to_the_end(self, run: TrainingRun, crew: Crew) -> None:
        """To the last epoch, by fewer workers where a node was lost. Raises ClusterError, TrainingFailedError."""
        starts = epochs = 0
        while True:
            try:
                return _train(replace(run, threads=crew.threads), crew)
            except ControllerError as error:
                if not isinstance(error.controller_failure, WorkerGroupStartupTimeoutError):
                    raise
                done = _epochs_done(run)
                starts, epochs = 1 if done > epochs else starts + 1, max(done, epochs)
                if starts == STARTS:
                    raise ClusterError(
                        f"{crew.words} could not be started ({_last_line(error.controller_failure)}); run the same "
                        "command again, with fewer --workers where the cluster has too few processors, to go on from "
                        "the last epoch"
                    ) from error
                crew = self._next_crew(crew)

    def _next_crew(self, crew: Crew) -> Crew:
        try:
            found = self._choose_crew()
        except UsageError:  # --workers asks for more than there is: what was lost may come back
            found = crew
        outlook = "waiting for it" if found == crew else f"going on with {found.words}"
        log.warning("the cluster has no room for %s now: %s", crew.words, outlook)
        return found


def _epochs_done(run: TrainingRun) -> int:
    history, _, _ = ray.get(run.board.read.remote())
    return len(history)


def _train(run: TrainingRun, crew: Crew) -> None:
    """Raises TrainingFailedError: a ControllerError where the workers could not be started, or Ray Train failed."""
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
                    max_failures=WORKER_DEATHS, controller_failure_limit=0
                ),
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        ).fit()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ended(error: Exception) -> Exception:
    """What to tell of an error that ended Ray Train: our own where there is one behind it."""
    failures = [*getattr(error, "worker_failures", {}).values(), getattr(error, "controller_failure", None)]
    causes = [getattr(failure, "_base_exc", failure) for failure in failures if failure is not None]
    own = next((cause for cause in [error, *causes] if isinstance(cause, NightliftError)), None)
    if own is not None:
        return own
    if not isinstance(error, TrainingFailedError | RayError):
        return error
    last = _last_line(causes[0] if causes else error)
    return ClusterError(f"Ray ended the training ({last}); run the same command again to go on from the last epoch")


def _last_line(error: Exception) -> str:
    """Of what it says, or else its name: above it a traceback may stand."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
