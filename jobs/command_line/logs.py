"""What a command tells while it works, on standard error: lines for people, or JSON objects for machines."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from jobs.command_line.parsing import before_dashes

FLAGS, JSON = {"--log-format", "--log_format"}, "json"

log = logging.getLogger("nightlift")
steps = logging.getLogger("nightlift.steps")
"""Gets lines on each step of a job: what it does now, for a person who waits."""
progress = logging.getLogger("nightlift.progress")
"""Gets lines on how far long work has come."""
_in_json = False


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON. Known before it is parsed, so that slips in it are JSON, too.

    The last of several flags counts, as it does for the parser.
    """
    before = before_dashes(arguments)
    typed = ((each.partition("="), value) for each, value in zip(before, [*before[1:], ""], strict=False))
    formats = [attached if equals else value for (flag, equals, attached), value in typed if flag in FLAGS]
    return formats[-1:] == [JSON]


@contextmanager
def logging_to_stderr(*, in_json: bool) -> Iterator[None]:
    """Send what all loggers say to standard error while the body runs; as JSON also warnings and tracebacks."""
    global _in_json
    log.setLevel(logging.INFO)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where there is no home directory
    if not in_json:
        logging.basicConfig(format="nightlift: %(message)s", level=logging.WARNING, stream=sys.stderr)
        yield
        return
    handler, root = logging.StreamHandler(sys.stderr), logging.getLogger()
    handler.setFormatter(_Json())
    root.addHandler(handler)
    sys.excepthook = _log_error
    logging.captureWarnings(True)
    _in_json = True
    try:
        yield
    finally:
        _in_json = False
        logging.captureWarnings(False)
        root.removeHandler(handler)


def is_json() -> bool:
    """Return whether the log is JSON: then nothing else may be written to standard error, such as a bar."""
    return _in_json


def tell(text: str, *, level: int = logging.ERROR, **fields: Any) -> None:
    """Write what a person has to know as a command ends. `level`, `fields`: what JSON has beside it."""
    if _in_json:
        log.log(level, "%s", text, extra={"fields": fields})
    else:
        print(f"nightlift: {text}", file=sys.stderr)


def take_in_ray() -> None:
    """Give JSON to Ray's logger, which has set itself up by now, where ours write it."""
    for handler in logging.getLogger("ray").handlers if _in_json else ():
        handler.setFormatter(_Json())


class _Json(logging.Formatter):
    """A formatter that makes one JSON object of each record, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object: `time` in UTC, `level`, `logger`, `message`, and the fields that the caller added."""
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        error = {"traceback": self.formatException(record.exc_info)} if record.exc_info else {}
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields,
            **error,
        }
        return json.dumps(told, default=str)


def _log_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write an error that nobody expected, as Python does at the very end."""
    record = log.makeRecord(log.name, logging.CRITICAL, "", 0, "%s: %s", (kind.__name__, error), (kind, error, trace))
    print(_Json().format(record), file=sys.stderr)
