"""What a process writes for its user: in UTF-8, and without errors if nothing takes it or it cannot be encoded."""

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from jobs.command_line.logs import tell

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STANDARD = range(3)  # input, output, errors


def use_utf8() -> None:
    """Start Python again in UTF-8 mode, unless file names are UTF-8 already. Only for a process that is ours alone."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1" and sys.executable:
        os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def prepare_streams() -> None:
    """Make standard output and errors raise nothing, except BrokenPipeError for output.

    Closed ones are replaced by /dev/null: otherwise the next file that is opened would get their number.
    """
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr)


def flush_output(status: int) -> int:
    """Write what is buffered. Returns the exit status; 1 in place of 0 if not all output could be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        leave_unread()
        return status or 1
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(file, _File) and file.failure is not None and not status:
        tell(f"the output could not be written ({file.failure.strerror})")
        return 1
    return status


def leave_unread() -> None:
    """Send standard output nowhere, once its reader has gone away: Python would fail as it flushes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _File(io.FileIO):
    """A file that remembers an error of the system instead of raising it, as on a full disk."""

    failure: OSError | None = None

    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if isinstance(error, BrokenPipeError) and self.fileno() == 1:
                raise
            self.failure = error
            return memoryview(content).nbytes


def _stream(number: int, now: TextIO | None) -> TextIO:
    file = _File(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=now.encoding if now is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=number == 2 or file.isatty(),
        write_through=getattr(now, "write_through", False),
    )
