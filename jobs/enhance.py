"""Photos and videos together: `nightlift enhance SRC DST`, or `python -m jobs.enhance SRC DST` from a checkout."""

import sys
from dataclasses import dataclass
from typing import Literal

from jobs.bulk.run import run_jobs
from jobs.images import ImagesConfig, photo_media
from jobs.videos import VIDEO_MEDIA, VideosConfig
from pipeline.storage.urls import WEB, protocol_of, redacted


@dataclass(frozen=True, kw_only=True)
class EnhanceConfig(ImagesConfig, VideosConfig):
    """Enhance photos and videos together: from one place into the same tree at DST, with one manifest.

    Photos are done first, and --limit counts them first. In videos, --denoise also smooths over time where nothing
    moves. Run the same command again to enhance only what is new, changed or failed.

    Examples:
      nightlift enhance holiday bright
      nightlift enhance gs://trip/in gs://trip/out --exclude '*.gif' --dry-run

    Exit status: 0 all done; 1 some inputs failed, or the job could not continue; 2 wrong usage or nothing to read; 130,
    143 or 129 stopped by Ctrl-C, SIGTERM or SIGHUP.
    """

    hdr: Literal["keep", "sdr"] = "keep"
    """What to do with HDR (HLG and PQ). keep: write HDR with the same tags; sdr: convert to SDR.
    Of photos, only AVIF, JPEG XL and PNG hold HDR; others, as HEIC is, become SDR, with a note."""


def run(config: EnhanceConfig) -> int:
    """Run the whole job. Returns the exit status; raises NightliftError for what stops it before work begins."""
    both = (photo_media(config), VIDEO_MEDIA)
    named = [media for media in both if media.kind.accepts(config.dst)]  # one file for one file
    if protocol_of(config.src) in WEB and not named:  # one file, or a glob that names its kind
        named = [media for media in both if media.kind.accepts(redacted(config.src))]
    return run_jobs(config, named or both)


if __name__ == "__main__":
    from jobs.cli import start

    sys.exit(start(["enhance", *sys.argv[1:]]))
