"""What the console command starts: stopped while the packages load, which takes seconds, it says no more than later."""

import sys


def main() -> int:
    """As `jobs.cli.main`."""
    try:
        from jobs.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("nightlift: stopped before anything was begun", file=sys.stderr)
        return 130
