"""Progress of a running training, in one place for all workers. `driver.py` makes a Ray actor of it."""

Row = dict[str, float]
"""One epoch: `epoch`, `seconds`, `learning_rate`, `gradient_norm`, and `training_NAME` and `validation_NAME` of each
weighted loss and of `total`."""


class TrainingStatus:
    """Finished epochs and steps, and why the training must end, if it must."""

    def __init__(self) -> None:
        self._history: list[Row] = []
        self._steps = 0
        self._begun = False
        self._trouble: tuple[int, str] | None = None

    def show_begun(self) -> None:
        """Record that a worker has started; its first step may take long."""
        self._begun = True

    def has_begun(self) -> bool:
        return self._begun

    def show_history(self, history: list[Row]) -> None:
        self._history = history

    def show_steps(self, steps: int) -> None:
        """Record the number of steps since the first epoch, including those of the current one."""
        self._steps = steps

    def show_trouble(self, weight: int, message: str) -> None:
        """Record why the training must end. Of several reasons, the one with the highest `weight` counts."""
        if self._trouble is None or self._trouble[0] < weight:
            self._trouble = (weight, message)

    def read(self) -> tuple[list[Row], int, str | None]:
        """Return the finished epochs, the number of steps done, and why the training must end, if it must."""
        return self._history, self._steps, self._trouble and self._trouble[1]
