"""Media in, media out. `pipeline.flow` has the Ray Data graphs and is imported by its own name: it loads Ray."""

from pipeline.destination import Destination
from pipeline.errors import NightliftError
from pipeline.manifest import Manifest
from pipeline.photos import PhotoSettings, PhotoSteps
from pipeline.plan import Plan, Selection, make_plan
from pipeline.records import OUTCOME_SCHEMA, Outcome, Record
from pipeline.storage import Storage

__all__ = [
    "OUTCOME_SCHEMA",
    "Destination",
    "Manifest",
    "NightliftError",
    "Outcome",
    "PhotoSettings",
    "PhotoSteps",
    "Plan",
    "Record",
    "Selection",
    "Storage",
    "make_plan",
]
