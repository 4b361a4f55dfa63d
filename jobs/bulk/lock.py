"""The lock of a destination, so that two runs on the same kind of files there do not work against each other.

A run writes a claim, a small file of its own below `_nightlift/locks/`, and then lists all claims: of two runs, at
least one sees the other's. So this needs only what every disk and store has, a listing that shows what was written
before; no locks of a file system, no conditional writes. The holder renews its claim. A run on this machine that has
ended without a word is noticed at once, by its process; one on another machine by a claim that is not renewed. Only
times that the same store gave are compared.
"""

import itertools
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from pipeline.errors import AccessDenied, Busy, NotFound, Stopped, StorageError, printable
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import FOLDER, LOCAL, join, protocol_of, redacted

RENEW_S = 30.0
STALE_S = 120.0  # a claim of another machine that was not renewed for this long is void
LOOK_S = 2.0  # between looks at a claim of which it is not known yet whether its run still works
FIRST_LOOKS, FIRST_LOOKS_S = 20, 0.2  # while two runs begin at the same moment
END_S = 5.0  # time for a renewal that is under way as the run ends
SAME_START_S = 2.0  # by which two readings of the time when a process began may differ
SECONDS = "seconds"  # precision of times in claims

log = logging.getLogger("nightlift")
_of_this_process = set[str]()  # names of the claims of runs that go on


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a run says of itself in its claim."""

    host: str = "an unknown host"
    machine: str = ""
    """Identifies the machine since its last start, and what separates its containers; "" where that is not known."""
    process: int = 0
    process_began_s: float = 0.0
    """When the process began, in seconds since the start of the machine, which stay the same if its clock is set."""
    begun: str = ""
    """When the run began, in UTC by the machine's clock."""
    since: str = ""
    """When it took the destination."""
    name: str = ""
    """Random, that of its file."""
    kinds: Sequence[str] = ()
    """Nouns of the kinds of files that it writes."""
    file: str = ""
    """The only output that it writes; "" if it may write any."""
    holds: bool = False
    """Whether it has the destination; else it is asking."""
    renewals: int = 0

    def __post_init__(self) -> None:
        """Raise TypeError for values that no run writes."""
        numbers = isinstance(self.process, int) and isinstance(self.process_began_s, int | float)
        if not numbers or not all(isinstance(kind, str) for kind in self.kinds):
            raise TypeError("not a claim")

    def conflicts(self, other: "Claim") -> bool:
        """Return whether the two may write the same files. A claim that cannot be read may be for any."""
        apart = bool(self.file and other.file) and self.file != other.file
        return not apart and (not self.kinds or not other.kinds or not set(self.kinds).isdisjoint(other.kinds))

    @property
    def has_ended(self) -> bool | None:
        """Return whether its run is no more; None where that cannot be told, as it is on another machine.

        A run that could not remove its claim, as its keys had expired, may be followed by another of the same process.
        """
        if not self.machine or self.machine != _machine():
            return None
        try:
            process = psutil.Process(self.process)
            same = abs(_began_s(process) - self.process_began_s) < SAME_START_S
            if same and self.process == os.getpid():
                return self.name not in _of_this_process
            return not same or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return None

    def __str__(self) -> str:
        return printable(f"process {self.process} on {self.host}, begun {self.begun}, writing there since {self.since}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Another run's claim."""

    url: str
    version: str
    age_s: float
    """Seconds since its last renewal, by the store's clock or, without one, since it was first seen."""
    renewed: bool
    """Whether it was renewed while this run looked on."""
    claim: Claim

    @property
    def is_void(self) -> bool:
        ended = self.claim.has_ended
        return ended or (ended is None and self.age_s >= STALE_S)

    @property
    def is_sure(self) -> bool:
        """Return whether its run is surely at work."""
        return self.claim.has_ended is False or self.renewed


class Lock:
    """The right of this run to write files of some kinds below `root`.

    `kinds`: their nouns. `file`: the only output that is written; "" if it may be any.
    """

    def __init__(self, storage: Storage, root: str, kinds: Sequence[str], file: str = "") -> None:
        self._storage, self._root = storage, root
        self._folder = join(root, FOLDER, "locks")
        name = secrets.token_hex(8)
        self._url = join(self._folder, f"{name}.json")
        process, now = psutil.Process(), datetime.now(UTC)
        self._claim = Claim(
            host=socket.gethostname(),
            machine=_machine(),
            process=process.pid,
            process_began_s=_began_s(process),
            begun=datetime.fromtimestamp(process.create_time(), UTC).isoformat(timespec=SECONDS),
            since=now.isoformat(timespec=SECONDS),
            name=name,
            kinds=sorted(kinds),
            file=file,
        )
        self._lost_to = ""
        self._void = set[str]()  # claims of runs that have ended
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._keep_renewing, name="lock", daemon=True)

    def check_free(self) -> None:
        """Raise Busy if another run surely has the lock, before anything is listed or written. Raises StorageError."""
        with suppress(NotFound):
            for file in self._storage.walk(self._folder):
                claim = self._read(file.url) if file.size_bytes else None
                if claim and claim.holds and claim.has_ended is False and claim.conflicts(self._claim):
                    raise self._busy(claim)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock while the body runs. Raises Busy if another run has it, StorageError."""
        _of_this_process.add(self._claim.name)
        try:
            self._acquire()
            self._renewing.start()
            yield
        finally:
            self._over.set()
            if self._renewing.is_alive():
                self._renewing.join(END_S)
            _of_this_process.discard(self._claim.name)
            self._drop()

    def check(self) -> None:
        """Raise Stopped if another run has taken the destination, as this one could not renew its claim."""
        if self._lost_to:
            raise Stopped(
                f"stopped: this run did not answer for {STALE_S:.0f} s, and another one has taken over "
                f"{redacted(self._root)} ({self._lost_to}); run the same command again later"
            )

    def _acquire(self) -> None:
        seen: dict[str, tuple[str, float]] = {}
        for look in itertools.count():
            self._write(self._claim)
            rivals = self._rivals(seen)
            if not rivals:
                self._claim = replace(self._claim, since=datetime.now(UTC).isoformat(timespec=SECONDS), holds=True)
                self._write(self._claim)
                return
            holders = [rival for rival in rivals if rival.claim.holds]
            if holders or self._url > min(rival.url for rival in rivals):
                self._drop()  # of runs that ask at the same time, the first by name stays
            for rival in holders:
                if rival.is_sure:
                    raise self._busy(rival.claim)
            if holders and not look:
                log.info(
                    "another run may be writing to %s: %s; looking for up to %.0f s whether it still does",
                    redacted(self._root),
                    holders[0].claim,
                    max(0, STALE_S - holders[0].age_s),
                )
            time.sleep(LOOK_S if holders or look > FIRST_LOOKS else FIRST_LOOKS_S)

    def _busy(self, claim: Claim) -> Busy:
        return Busy(
            f"{redacted(self._root)}: another run writes there: {claim}; wait until it has ended, stop it, or choose "
            "another DST"
        )

    def _rivals(self, seen: dict[str, tuple[str, float]]) -> list[_Found]:
        """Return the claims of other runs that stand in the way; remove those of runs that have ended.

        `seen`: version of each claim at the first look, and when that was.
        """
        listed = list(self._storage.walk(self._folder))
        now_s = next((_modified_s(file) for file in listed if file.url == self._url), 0.0)
        rivals = []
        for file in listed:
            if file.url == self._url or not file.size_bytes:  # 0 bytes: ended, where nothing may be removed
                continue
            claim = self._read(file.url)
            if claim is None or not claim.conflicts(self._claim):
                continue
            version, first_s = seen.setdefault(file.url, (file.version, time.monotonic()))
            told_s = _modified_s(file)
            age_s = now_s - told_s if now_s and told_s else time.monotonic() - first_s
            found = _Found(
                url=file.url, version=file.version, age_s=age_s, renewed=file.version != version, claim=claim
            )
            if found.is_void:
                self._end_of_another(file.url, claim)
            else:
                rivals.append(found)
        return rivals

    def _keep_renewing(self) -> None:
        while not self._over.wait(RENEW_S):
            with suppress(StorageError):  # tried again; others wait for several renewals
                if not self._storage.exists(self._url) and (rivals := self._rivals({})):
                    self._lost_to = str(rivals[0].claim)
                    return
                self._claim = replace(self._claim, renewals=self._claim.renewals + 1)
                self._write(self._claim)

    def _write(self, claim: Claim) -> None:
        self._storage.write(self._url, json.dumps(asdict(claim)).encode())

    def _read(self, url: str) -> Claim | None:
        """Return a claim; None if it is gone by now."""
        try:
            return Claim(**json.loads(self._storage.read(url)))
        except NotFound:
            return None
        except (AccessDenied, ValueError, TypeError):  # of another user or version, or nothing of ours
            return Claim(holds=True)

    def _drop(self) -> None:
        with suppress(StorageError):
            self._end(self._url)

    def _end_of_another(self, url: str, claim: Claim) -> None:
        """Remove the claim of a run that has ended. Where that is forbidden it stays, and is in nobody's way."""
        if url in self._void:
            return
        self._void.add(url)
        log.info("going on after a run that ended without a word: %s", claim)
        try:
            self._end(url)
        except StorageError as error:
            log.warning("the lock of that run cannot be removed, which does no harm: %s", error)

    def _end(self, url: str) -> None:
        """Remove a claim, or empty it where removing is forbidden. Raises StorageError."""
        try:
            self._storage.remove([url])
        except StorageError:
            self._storage.write(url, b"")


def _began_s(process: psutil.Process) -> float:
    """Return when a process began, in seconds since the start of the machine."""
    return float(process.create_time() - psutil.boot_time())


def _machine() -> str:
    """Return what identifies this machine since its start, and the container whose processes this one sees; or ""."""
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {started} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux: a process of this number may be another machine's of the same name
        return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def _modified_s(file: Listed) -> float:
    """Return when a file was last written, by the store's or the disk's clock; 0.0 if that is not told."""
    if protocol_of(file.url) != LOCAL:
        return file.modified_s
    try:
        return Path(file.url).stat().st_mtime
    except OSError:
        return 0.0
