"""The command line as a whole: what it says when it is stopped or mistyped."""

import pytest

from jobs import cli


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["images", "in", "out", "--fresh"], "run the same command again, without --fresh, to go on from here"),
        (["train", "in", "out"], "run the same command again to go on from here"),
        (["evaluate", "in", "out"], "run the same command again to start over"),
        (["export", "out.onnx"], "run the same command again to start over"),
    ],
)
def test_stopped_it_says_what_the_same_command_will_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    def stopped(config: object) -> int:
        raise KeyboardInterrupt

    jobs = {name: (config_type, stopped) for name, (config_type, _) in cli.JOBS.items()}
    monkeypatch.setattr(cli, "JOBS", jobs)
    assert cli.main(arguments) == 130
    assert capsys.readouterr().err == f"nightlift: stopped; {told}\n"
