"""What the jobs over many files are made of: media of a kind, and one job over files of it at one place."""

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from jobs.bulk.config import BulkConfig
from jobs.bulk.estimate import Estimate
from jobs.flags import selection_of
from model import Checkpoint, fingerprint
from pipeline.planning.destination import Destination
from pipeline.planning.inputs import Inputs
from pipeline.planning.manifest import Manifest
from pipeline.planning.media_kinds import Kind
from pipeline.planning.path_list import Source, places_of, source_of
from pipeline.planning.plan import Plan
from pipeline.planning.planner import inputs_of, make_plan
from pipeline.records import Outcome, Record
from pipeline.storage.credentials import parse_options
from pipeline.storage.storage import Storage


class OnPart(Protocol):
    """What a worker calls whenever a part of a file is done."""

    def __call__(self, at: str = "") -> None:
        """Take note. `at`: URL of the file that the worker is at from now on; "": still the same."""


Worker = Callable[[Record, OnPart], Outcome]
"""All steps of one file in one process."""


class Flow(Protocol):
    """Workers on Ray."""

    def run(self, records: Sequence[Record]) -> Iterator[Outcome]:
        """Yield exactly one outcome for each record, as they come. Raises ClusterError."""

    def has_begun(self) -> bool:
        """Tell whether a worker has come up and begun a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """How files of one kind are enhanced."""

    kind: Kind
    settings: Callable[[Any, Checkpoint], Any]
    """Of a config and a network: a dataclass with all that decides an output but the weights. Raises UsageError."""
    variant: Callable[[Any], str] = lambda settings: ""
    """Of those settings: the `variant` of the manifest."""
    wanted: Callable[[Any], str | None]
    """The format or extension that a config asks for. Raises UsageError."""
    worker: Callable[["Job"], Callable[[], Worker]]
    """Of a job: what makes a worker in another process. It travels there, pickled."""
    flow: Callable[["Job"], Any]
    """Of a job: a `Flow`. Needs an initialised Ray; says what it starts. Raises UsageError."""
    progress: Callable[[Any, Sequence[Record]], Generator[Outcome]]
    """Runs a flow over records, and shows its progress."""
    tidy: Callable[["Job", Sequence[Record], Iterator[Outcome]], Iterator[Outcome]] = lambda job, records, each: each
    """The same outcomes; removes what their work leaves behind."""
    estimate: Callable[["Job", Plan, Callable[[Record], float]], Estimate]
    """What a job would do, and how long it would take. The function returns the pixels that a video announces."""
    worker_bytes: float
    """Memory that a worker on a CPU may take."""
    needs_ray: bool = True
    """Whether many files are work for Ray and a few for a child process; else the flow does them in this process."""


@dataclass(kw_only=True, slots=True)
class Job:
    """Files of one kind at one place, and what is to become of them."""

    media: Media
    config: BulkConfig
    source: Source
    settings: Any
    checkpoint: Checkpoint
    storage: Storage
    destination: Destination
    manifest: Manifest

    @classmethod
    def of(cls, media: Media, config: BulkConfig, checkpoint: Checkpoint, source: Source | None = None) -> "Job":
        """Make the job for files of one kind. Raises UsageError.

        `source`: that of `config`, if it was read already, as standard input can be only once.
        """
        settings = media.settings(config, checkpoint)
        source = source_of(config.src) if source is None else source
        places = itertools.chain(places_of(source), [config.dst])
        storage = Storage.from_environment(places, parse_options(config.storage_options))
        destination = Destination.of(storage, source, config.dst, media.kind, media.wanted(config))
        weights = {"weights": str(config.weights or config.variant), "weights_fingerprint": fingerprint(checkpoint)}
        price = {} if config.price is None else {"price": config.price}
        manifest = Manifest(
            storage,
            destination.root,
            settings.fingerprint(checkpoint),
            {**weights, **asdict(settings), **price},
            variant=media.variant(settings),
        )
        return cls(
            media=media,
            config=config,
            source=source,
            settings=settings,
            checkpoint=checkpoint,
            storage=storage,
            destination=destination,
            manifest=manifest,
        )

    @property
    def noun(self) -> str:
        return self.media.kind.noun

    def inputs(self) -> Inputs:
        """Return the listing of the source. Raises UsageError."""
        return inputs_of(self.storage, self.source, self.destination, selection_of(self.config))

    def plan(self, inputs: Inputs | None = None, kinds: Sequence[Kind] = (), *, ignoring_case: bool = False) -> Plan:
        """Plan the job. `inputs`, `kinds`: what it shares with other jobs of the run. Raises what `make_plan` raises.

        `ignoring_case`: the destination does not tell `a` from `A`.
        """
        history = self.manifest.history()
        if self.config.fresh:
            history = history.without_done()
        return make_plan(
            self.storage,
            self.source,
            self.destination,
            selection_of(self.config),
            history,
            ignoring_case=ignoring_case,
            inputs=inputs,
            kinds=kinds,
        )
