"""One file from place to place, named and protected as a job over that file alone would do it."""

import os

from jobs.bulk.job import Job
from pipeline.errors import UsageError, plural
from pipeline.planning.history import History
from pipeline.planning.inputs import Selection
from pipeline.planning.plan import COMMAND_FOR, check_found
from pipeline.planning.planner import make_plan
from pipeline.records import Record
from pipeline.storage.storage import Storage
from pipeline.storage.urls import absolute, redacted


def place_of(path: str | os.PathLike[str]) -> str:
    """Return a path or URL as jobs know it. Raises UsageError."""
    return absolute(os.fspath(path))


def record_of(job: Job) -> Record:
    """Return the one record of a job over one file. Raises UsageError, and what listing raises."""
    source, noun = str(job.source), job.noun
    check_is_no_folder(job.storage, source, noun)
    plan = make_plan(job.storage, job.source, job.destination, Selection(), History())
    check_found(redacted(source), [plan], f"{noun}s")
    if plan.refused:
        raise UsageError(plan.refused[0].message)
    if len(plan.records) != 1:
        raise UsageError(f"{redacted(source)} names {plural(len(plan.records), noun)}; {_for_many(noun)}")
    return plan.records[0]


def check_is_no_folder(storage: Storage, source: str, noun: str) -> None:
    """Raise UsageError where a source is a folder. Raises StorageError."""
    if storage.is_folder(source):
        raise UsageError(f"{redacted(source)} is a folder; {_for_many(noun)}")


def _for_many(noun: str) -> str:
    return f"give one {noun}; for many there is the command nightlift {COMMAND_FOR[noun]}"
