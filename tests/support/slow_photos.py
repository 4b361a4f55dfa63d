"""A job whose photos take long and cost nothing: one that is stopped or loses a node midway needs time, not work."""

import sys
from collections.abc import Sequence

# its classes are sent to workers whole, as they belong to the main module
PROGRAM = """
import sys, time
from dataclasses import replace
from jobs.cli import main
from pipeline.flow import photos

class SlowDecode(photos.ReadAndDecode):
    def __call__(self, work):
        time.sleep({pause_s})
        return super().__call__(work)

class SlowWorker(photos.FusedWorker):
    def __init__(self, flow):
        super().__init__(flow)
        self.develop.step = replace(self.develop.step, decode=SlowDecode(flow.storage, flow.settings))

photos.FusedWorker = SlowWorker
sys.exit(main(sys.argv[1:]))
"""


def slow_images(pause_s: float, *arguments: str) -> Sequence[str]:
    """The command of a photo job on Ray that pauses before each photo, in the fused graph."""
    return [sys.executable, "-c", PROGRAM.format(pause_s=pause_s), "images", *arguments]
