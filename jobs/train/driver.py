"""The driver's side of a training: reads the images, starts Ray Train, and shows what the workers report."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError

from jobs.cluster.canary import Watch, watched
from jobs.cluster.nodes import cluster_cpus
from jobs.progress import Progress
from jobs.train.checks import otherwise
from jobs.train.config import TrainConfig, TrainingSetup
from jobs.train.loss_record import TrainingRecord
from jobs.train.placement import Crew, choose_crew, choose_precision
from jobs.train.state import RESULTS, SHEETS, State, read_state, state_url
from jobs.train.status import Row, TrainingStatus
from jobs.train.supervisor import TrainingSupervisor, ended
from jobs.train.training_run import TrainingImage, TrainingImages, TrainingRun
from pipeline.errors import ClusterError, Diverged, NotFound, StorageError, UsageError, plural
from pipeline.flow.prometheus import show_training
from pipeline.flow.supervised_step import actor_of, has_begun
from pipeline.flow.training import TrainingPhotoFlow
from pipeline.planning.manifest import Manifest
from pipeline.records import Outcome
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join
from pipeline.training.files import TrainingFiles
from pipeline.training.samples import ReadImages, is_held_out

log = logging.getLogger("nightlift")

SHEETS_DRAWN = 5  # by default
SHOWN_FAILURES = 10
LOOK_EVERY_S = 0.5  # between looks at the status


class Driver:
    """One run of the job, from the first file read to the last epoch shown."""

    def __init__(
        self,
        config: TrainConfig,
        storage: Storage,
        root: str,
        files: TrainingFiles,
        setup: TrainingSetup,
        state: State | None,
    ) -> None:
        self.config = config
        self.storage = storage
        self.root = root
        self.files = files
        self.setup = setup
        self.state = state
        self.recipe = setup.recipe

    def train(self) -> None:
        """Run the whole training. Raises Diverged, ClusterError, UsageError, StorageError."""
        with watched():
            crew = self._choose_crew(self.config.device)
        config = self.config
        read = ReadImages(self.storage, self.recipe.photo_px, config.frames_per_video, config.max_pixels)
        flow = TrainingPhotoFlow(read=read, cpus=cluster_cpus(), time_limit_s=config.time_limit)
        with watched(flow.has_begun) as watch:
            found, blocks = self._read(flow, watch)
        if self.state is None:
            self._clear()
        else:
            found = self._begun_with(found, self.state.photos)
        images = self._split(found, blocks)
        status = actor_of(TrainingStatus, restarts=-1)
        run = self._run(images, crew, status)
        self._announce(run, crew)
        try:
            with watched(partial(has_begun, status)) as watch:
                self._follow(run, crew, watch)
        except StorageError as error:
            raise ClusterError(
                f"{error}; run the same command again to continue from the last finished epoch"
            ) from error

    def _choose_crew(self, device: str) -> Crew:
        return choose_crew(device, self.config.workers, self.recipe.batch)

    def _read(self, flow: TrainingPhotoFlow, watch: Watch) -> tuple[list[TrainingImage], list[Any]]:
        """Read all files, and write their manifest rows. Returns the images, sorted by digest, and their blocks."""
        settings = {name: getattr(flow.read, name) for name in ("photo_px", "frames_per_video", "max_pixels")}
        digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
        manifest = Manifest(self.storage, self.root, digest, settings)
        manifest.begin()
        blocks, found, failures = list[Any](), list[TrainingImage](), list[str]()
        log.info("reading %s", plural(len(self.files.records), "file"))
        progress = Progress(len(self.files.records), "file")
        try:
            manifest.append(self.files.refused)
            for block, table in flow.run(self.files.records):
                watch.moved()
                rows = table.to_pylist()
                outcomes = [Outcome(**{name: row[name] for name in Outcome.__slots__}) for row in rows]
                manifest.append(outcomes)
                found += [image for number, row in enumerate(rows) for image in _images(row, len(blocks), number)]
                blocks.append(block)
                for outcome in outcomes:
                    progress.advance(failed=outcome.outcome == "failed")
                    if outcome.outcome == "failed":
                        failures.append(f"  {outcome.code}: {outcome.message}")
        finally:
            progress.close()
            manifest.close()
        self._tell_failures(failures, manifest.url)
        return sorted(found, key=lambda image: (image.digest, image.frame)), blocks

    def _begun_with(self, found: Sequence[TrainingImage], identities: Sequence[str]) -> list[TrainingImage]:
        """Return those of the images that the training to resume began with. Raises UsageError if some are missing."""
        wanted = set(identities)
        kept = [image for image in found if image.identity in wanted]
        missing = len(wanted) - len({image.identity for image in kept})
        if missing:
            raise UsageError(
                f"{self.root}: {missing} of the {len(wanted)} images that its training began with cannot be read now; "
                f"restore their files and run the same command again; {otherwise(self.root)}"
            )
        if len(kept) < len(found):
            log.info("left out %s that the training did not begin with", plural(len(found) - len(kept), "image"))
        return kept

    def _split(self, found: Sequence[TrainingImage], blocks: Sequence[Any]) -> TrainingImages:
        """Split the images into those to train on and those held out. Raises NotFound if none is left to train on."""
        share = self.config.validation_share
        images = TrainingImages(
            blocks=blocks,
            trained=[image for image in found if not is_held_out(image.digest, share)],
            held_out=[image for image in found if is_held_out(image.digest, share)],
        )
        if not images.trained:
            reason = f"--validation-share {share} holds all of them out" if found else "none of the files could be read"
            raise NotFound(f"no photo or video to train on: {reason}")
        return images

    def _tell_failures(self, failures: list[str], manifest: str) -> None:
        if failures:
            log.warning("left out %s that could not be read:", plural(len(failures), "file"))
            for failure in failures[:SHOWN_FAILURES]:
                log.warning("%s", failure)
            if len(failures) > SHOWN_FAILURES:
                log.warning("  ... and %d more, listed in the manifest: %s", len(failures) - SHOWN_FAILURES, manifest)
        if self.files.refused:
            others = plural(len(self.files.refused), "other file")
            log.info("left out %s, for the reasons in the manifest: %s", others, manifest)

    def _clear(self) -> None:
        """Remove what another training left here, and nothing else."""
        with suppress(NotFound):
            self.storage.remove(file.url for file in self.storage.list_files(join(self.root, SHEETS)))
        self.storage.remove([state_url(self.root), *(join(self.root, name) for name in RESULTS)])

    def _run(self, images: TrainingImages, crew: Crew, status: Any) -> TrainingRun:
        setup = self.setup
        photos = sorted({image.identity for part in (images.trained, images.held_out) for image in part})
        fingerprint = hashlib.sha256("".join(photos).encode()).hexdigest()[:16]
        notes = {
            "settings": json.dumps(dict(setup.settings)),
            "losses": json.dumps(asdict(setup.losses)),
            "photos": json.dumps(
                {"count": len(images.trained), "held_out": len(images.held_out), "fingerprint": fingerprint}
            ),
        }
        return TrainingRun(
            storage=self.storage,
            root=self.root,
            settings=setup.settings,
            photos=photos,
            files=self.files.names,
            recipe=self.recipe,
            losses=setup.losses,
            network=setup.network,
            images=images,
            seed=self.config.seed,
            precision=self.state.precision
            if self.state is not None
            else choose_precision(self.config.precision, crew.device),
            threads=crew.threads,
            sheet_every=self.config.sheet_every or -(-self.recipe.epochs // SHEETS_DRAWN),
            notes=notes,
            status=status,
        )

    def _announce(self, run: TrainingRun, crew: Crew) -> None:
        log.info(
            "training on %s (photos and video frames), with %d held out for validation",
            plural(len(run.images.trained), "image"),
            len(run.images.held_out),
        )
        log.info(
            "network %s, recipe %s, %s of %s",
            run.network.architecture.variant,
            self.config.recipe,
            plural(run.recipe.epochs, "epoch"),
            plural(run.steps_per_epoch, "step"),
        )
        if not run.images.held_out:
            log.info("no photos are held out, so there are no validation losses; use a higher --validation-share")
        start = f", at epoch {self.state.epoch + 1}" if self.state else ""
        log.info("starting %s in %s%s; this takes a few seconds", crew.words, run.precision, start)

    def _follow(self, run: TrainingRun, crew: Crew, watch: Watch) -> None:
        """Train, and show each epoch when it is finished."""
        done = self.state.epoch if self.state is not None else 0
        record = TrainingRecord(self.storage, self.root)
        progress = Progress(run.recipe.epochs * run.steps_per_epoch, "step", done=done * run.steps_per_epoch)
        # restarts stay on the first device, which decided the precision, whatever --device auto would choose by then
        supervisor = TrainingSupervisor(run, crew, lambda: self._choose_crew(crew.device))
        try:
            while not supervisor.over(LOOK_EVERY_S):
                history, steps, _ = ray.get(run.status.read.remote())
                if steps:
                    watch.moved()
                steps = max(steps, len(history) * run.steps_per_epoch)
                progress.advance_to(steps)
                show_training(steps, history)
                for row in history[done:]:
                    progress.say(epoch_line(row, run.recipe.epochs))
                done = max(done, len(history))
                try:
                    record.update(history)
                except StorageError as error:  # the next round writes the record again, from the history
                    log.warning("%s", error)
            _, _, trouble = ray.get(run.status.read.remote())
        except RayError as error:
            raise ended(error) from error
        finally:
            supervisor.abandon()
            progress.close()
        state = read_state(self.storage, self.root)
        history = state.history if state is not None else []
        for row in history[done:]:
            log.info("%s", epoch_line(row, run.recipe.epochs))
        record.update(history, last=True)
        show_training(len(history) * run.steps_per_epoch, history)
        if trouble is not None:
            kept = f"the weights of epoch {len(history)} are kept" if history else "no epoch was finished"
            raise Diverged(
                f"{trouble}; {kept}; start over with --fresh and a lower --learning-rate, or without those photos"
            )
        if supervisor.error is not None:
            raise supervisor.error


def epoch_line(row: Row, epochs: int) -> str:
    """Format one epoch as a line: `epoch 3/20  12 s  training loss 0.4321  validation loss 0.4501`."""
    line = f"epoch {row['epoch']:.0f}/{epochs}  {row['seconds']:.0f} s  training loss {row['training_total']:.4f}"
    return f"{line}  validation loss {row['validation_total']:.4f}" if "validation_total" in row else line


def _images(row: Mapping[str, Any], block: int, number: int) -> list[TrainingImage]:
    """Return the images of one file, which is row `number` of its block."""
    name = row["source"].rpartition("/")[2]
    return [
        TrainingImage(digest=row["digest"], frame=frame, name=name, block=block, row=number)
        for frame in range(row["frames"] if row["outcome"] == "done" else 0)
    ]
