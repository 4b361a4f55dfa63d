"""`nightlift`: the console command, with a sub-command for each job."""

import logging
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jobs import enhance, evaluate, export, images, train, videos
from pipeline.errors import ClusterError, Diverged, ManifestError, NightliftError

JOBS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "images": (images.ImagesConfig, images.run),
    "videos": (videos.VideosConfig, videos.run),
    "enhance": (enhance.EnhanceConfig, enhance.run),
    "train": (train.TrainConfig, train.run),
    "evaluate": (evaluate.EvaluateConfig, evaluate.run),
    "export": (export.ExportConfig, export.run),
}
GO_ON = ("images", "videos", "enhance", "train")  # where they were, when they are run again; the others start over
INTERRUPTED = 130  # as a shell reports a program ended by Ctrl-C
NUMBERS = {int: "a whole number", float: "a number"}
TYPES = ConstructorRegistry()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 0 all done, 1 some inputs failed, 2 usage or nothing to read."""
    logging.basicConfig(format="nightlift: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("nightlift").setLevel(logging.INFO)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        return _run(given)
    except NightliftError as error:
        print(f"nightlift: {error}", file=sys.stderr)
        return 1 if isinstance(error, ClusterError | Diverged | ManifestError) else 2
    except KeyboardInterrupt:
        without = ", without --fresh," if "--fresh" in given else ""
        goes_on = given[:1] and given[0] in GO_ON
        outcome = "go on from here" if goes_on else "start over"
        print(f"nightlift: stopped; run the same command again{without} to {outcome}", file=sys.stderr)
        return INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    if list(arguments) == ["--version"]:
        print(f"nightlift {version('nightlift')}")
        return 0
    config = tyro.extras.subcommand_cli_from_dict(
        {name: config_type for name, (config_type, _) in JOBS.items()},
        prog="nightlift",
        description="Lifts night photos into visible light, in bulk, on Ray.",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
        registry=TYPES,
    )
    run = next(run for config_type, run in JOBS.values() if type(config) is config_type)
    return run(config)


@TYPES.primitive_rule
def _number_or_word(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[float | str | None] | None:
    """`int | None`, `int | Literal["full"]` and the like. tyro's own rule takes nine lines to tell of a slip, and takes
    the word None, which no help speaks of."""
    options = get_args(info.type) if get_origin(info.type) in (Union, UnionType) else ()
    words = [word for option in options if get_origin(option) is Literal for word in get_args(option)]
    kinds = [option for option in options if option in NUMBERS]
    if len(kinds) != 1 or any(get_origin(option) is not Literal for option in {*options} - {*kinds, type(None)}):
        return None
    kind = kinds[0]

    def read(given: list[str]) -> float | str | None:
        if given[0] in words:
            return given[0]
        try:
            return float(given[0]) if kind is float else int(given[0])
        except ValueError:
            raise ValueError(f"{given[0]!r} is not {' or '.join([NUMBERS[kind], *words])}") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join([kind.__name__.upper(), *words]),
        instance_from_str=read,
        is_instance=lambda value: value is None or value in words or isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


if __name__ == "__main__":
    sys.exit(main())
