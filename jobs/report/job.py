"""The report job: `nightlift report DST`, or `python -m jobs.report DST` from a checkout."""

import logging
from dataclasses import dataclass
from typing import Annotated

from jobs.flags import LogFormat, StorageOptions, optional, positional
from jobs.report.page import is_report, report_url
from jobs.report.results import Results
from jobs.report.results_page import results_page
from jobs.report.training_page import is_training, training_page
from pipeline.errors import UsageError, printable
from pipeline.storage.credentials import parse_options
from pipeline.storage.ownership import Claim
from pipeline.storage.storage import Storage
from pipeline.storage.urls import WEB, absolute, protocol_of, redacted

log = logging.getLogger("nightlift")

REPORT = Claim(recognised=is_report)
IMAGES_S = 60.0  # time limit for making images
AT_END_S, AT_END_SHARE = 2.0, 0.02  # the limit at the end of another job: at least, and as a share of its time


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """Write a report of a job or a training, from its manifest: one HTML file that opens without a network.

    The report of a job shows totals, failures with their reasons, images before and after, brightness, speed and
    settings; that of a training shows losses, contact sheets, files and settings.

    Examples:
      nightlift report bright
      nightlift report s3://photos/bright --out report.html

    Exit status: 0 written; 2 not written.
    """

    dst: Annotated[str, positional("DST")]
    """Folder or bucket URL that a job wrote to: the DST of images, videos or enhance, or the OUT of train."""

    out: Annotated[str | None, optional("FILE")] = None
    """Path or URL of the .html file, which replaces an earlier report. By default `_nightlift/report.html` in DST."""
    storage_options: StorageOptions = "{}"
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        for name, place in (("DST", self.dst), ("--out", self.out)):
            if place is not None and not place.strip():
                raise UsageError(f"{name} is empty; give a path or a URL")
            if place is not None and protocol_of(place) in WEB:
                raise UsageError(
                    f"{redacted(place)}: nightlift cannot write to a web server; give a path or a bucket URL"
                )
        if self.out is not None and not self.out.lower().endswith((".html", ".htm")):
            raise UsageError(f"--out {self.out}: give a file name that ends in .html")


def run(config: ReportConfig) -> int:
    """Write the report. Returns the exit status; raises UsageError and StorageError."""
    root, options = absolute(config.dst), parse_options(config.storage_options)
    place = absolute(config.out) if config.out else report_url(root)
    storage = Storage.from_environment([root, place], options)
    if not storage.is_folder(root):
        found = "is a file" if storage.exists(root) else "nothing is there"
        raise UsageError(f"{redacted(root)}: {found}; give the folder that a job wrote to")
    if is_training(storage, root):
        page = training_page(storage, root)
    else:
        results = Results.read(storage, root)
        storage = Storage.from_environment([root, place, *results.files.protocols], options)
        page = results_page(results, storage, seconds=IMAGES_S)
    storage.write(place, page, REPORT)
    print(f"{place}  {len(page) / 1000:,.0f} kB")
    return 0


def report_at_end(storage: Storage, root: str, *, anything_new: bool, run_s: float, name_it: bool = True) -> None:
    """Write the report of the manifest at `root`. Errors are logged; only Ctrl-C is raised.

    `anything_new`: whether the job added rows; if not, a report that exists is kept. `run_s`: how long the job took.
    `name_it`: whether to print its place.
    """
    url = report_url(root)
    try:
        if anything_new or not storage.exists(url):
            seconds = min(IMAGES_S, max(AT_END_S, AT_END_SHARE * run_s))
            storage.write(url, results_page(Results.read(storage, root), storage, seconds=seconds))
    except KeyboardInterrupt:
        log.warning("the report was not written; to write it: nightlift report %s", redacted(root))
        raise
    except Exception as error:  # the job's work is done and recorded all the same
        log.warning("the report was not written: %s", printable(str(error) or type(error).__name__))
    else:
        if name_it:
            print(f"report:   {url}", flush=True)
