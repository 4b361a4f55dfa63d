"""What a training says of itself."""

from jobs.train.driver import epoch_line


def test_an_epoch_is_a_line_that_fits_a_terminal() -> None:
    names = ("total", "spatial", "exposure", "colour", "smoothness", "shade", "flat", "noise")
    row = {"epoch": 100.0, "seconds": 1234.5, "learning_rate": 1e-3, "gradient_norm": 0.3}
    row |= {f"{part}_{name}": 1234.56789 for part in ("training", "validation") for name in names}
    line = epoch_line(row, 200)
    assert line == "epoch 100/200  1234 s  training loss 1234.5679  validation loss 1234.5679"
    assert len(f"nightlift: {line}  [1:00:00 left]") <= 100
