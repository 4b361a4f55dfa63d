"""The record of a training: the same numbers in every file of it."""

import io
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageColor
from tensorboardX.proto.event_pb2 import Event

from jobs.train.loss_record import COLUMNS, VALIDATION_COLOUR, TrainingRecord, drawing, recorded
from pipeline.storage.storage import Storage

HISTORY = [
    {
        "epoch": float(epoch),
        "seconds": 2.0,
        "learning_rate": 1e-3,
        "gradient_norm": 0.3,
        "training_total": 3.0 / epoch,
        "training_flat": 3.0 / epoch,
        "validation_total": 4.0 / epoch,
        "validation_flat": 4.0 / epoch,
    }
    for epoch in (1, 2, 3)
]


def _events(folder: Path) -> dict[tuple[str, int], float]:
    """Every scalar by its tag and step: a file is of records, each a length, its checksum, the event, its checksum."""
    found = {}
    for path in folder.iterdir():
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack_from("<Q", content)
            event = Event.FromString(content[12 : 12 + length])
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            content = content[12 + length + 4 :]
    return found


def test_tensorboard_and_the_table_hold_every_loss_once(tmp_path: Path) -> None:
    TrainingRecord(Storage(), str(tmp_path)).update(HISTORY[:2])
    goes_on = TrainingRecord(Storage(), str(tmp_path))  # after a break
    goes_on.update(HISTORY[:2])
    goes_on.update(HISTORY, last=True)
    assert recorded(Storage(), str(tmp_path)) == 3
    assert pq.read_table(tmp_path / "losses.parquet").to_pylist() == HISTORY
    events = _events(tmp_path / "tensorboard")
    assert len(events) == 3 * len(HISTORY[0])
    for epoch in (1, 2, 3):
        assert events["total/training", epoch] == pytest.approx(3.0 / epoch)
        assert events["flat/validation", epoch] == pytest.approx(4.0 / epoch)
        assert events["learning_rate", epoch] == pytest.approx(1e-3)


@pytest.mark.parametrize(("training", "validation"), [(3.0, 3.2), (0.0, 0.0)])
def test_the_point_of_a_single_epoch_is_drawn_whole(training: float, validation: float) -> None:
    image = Image.open(
        io.BytesIO(drawing([{**HISTORY[0], "training_total": training, "validation_total": validation}]))
    )
    panel = image.convert("RGB").crop((0, 0, image.width // COLUMNS, image.height))  # the legend is in another one
    far = np.abs(np.asarray(panel).astype(int) - ImageColor.getrgb(VALIDATION_COLOUR)).max(axis=2)
    rows, columns = np.nonzero(far <= 30)
    assert np.ptp(rows) == np.ptp(columns) > 0
