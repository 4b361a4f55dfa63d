"""Photos and videos together: `nightlift enhance SRC DST`, or `python -m jobs.enhance SRC DST` from a checkout."""

import sys
from dataclasses import dataclass

from jobs.bulk.job import run_jobs
from jobs.images import ImagesConfig, PhotoJob
from jobs.videos import VideoJob, VideosConfig
from pipeline.storage.urls import WEB, protocol_of, shown


@dataclass(frozen=True, kw_only=True)
class EnhanceConfig(ImagesConfig, VideosConfig):
    """Enhance photos and videos of one place: each goes its way, into one tree, with one manifest.

    Photos come first, also for --limit. Run it again to do only what is new, changed or failed. Exit status: 0 all
    done, 1 some inputs failed, 2 wrong usage or nothing to read, 130, 143 or 129 stopped by Ctrl-C, SIGTERM or SIGHUP.
    """


def run(config: EnhanceConfig) -> int:
    """The whole job. Returns the exit status; raises NightliftError for what stops it before work begins."""
    checkpoint = config.checkpoint()
    jobs = (PhotoJob, VideoJob)
    named = [job for job in jobs if job.kind.accepts(config.dst)]  # one file for one file
    if protocol_of(config.src) in WEB and not named:  # one file, or a glob that names its kind
        named = [job for job in jobs if job.kind.accepts(shown(config.src))]
    return run_jobs([job.of(config, checkpoint) for job in named or jobs])


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["enhance", *sys.argv[1:]]))
