"""What a user is told of archives among the inputs: what is in them, and how to enhance that."""

import posixpath
from collections.abc import Iterable, Iterator, Sequence

from pipeline.archives.contents import Contents, contents_of
from pipeline.archives.members import size_of
from pipeline.archives.recognition import LANCE, Archive, archive_of, whole
from pipeline.errors import Damaged, StorageError, plural, printable
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage
from pipeline.storage.urls import LOCAL, is_inside, parent, protocol_of

SHOWN = 3  # archives of each kind, which are looked into
ENHANCED = "map_batches(nightlift.EnhanceImages, fn_constructor_kwargs={column}, batch_size=16)"


def advice(storage: Storage, files: Iterable[Listed], destination: str | None) -> Iterator[str]:
    """Yield lines on the archives among files: what is in the first of each kind, and what to do with all.

    `destination`: where enhanced images are wanted; None: they are not.
    """
    groups = dict[Archive, dict[str, Listed]]()
    for file in files:
        if not file.code and (kind := archive_of(file.url)):
            groups.setdefault(kind, {}).setdefault(whole(file.url), file)
    for kind, found in groups.items():
        looked = list[Contents | None]()
        for place, file in list(found.items())[:SHOWN]:
            try:
                looked.append(contents_of(storage, file, kind))
            except (Damaged, StorageError) as error:
                yield printable(f"{place}: {str(error).removeprefix(f'{place}: ')}")
            else:
                yield printable(f"{place}: {looked[-1] or kind.noun}")
        if len(found) > SHOWN:
            size = size_of(sum(file.size_bytes for file in found.values()))
            yield f"... and {plural(len(found) - SHOWN, kind.noun)} more; all {len(found):,} have {size}"
        by_ray = "" if destination is None else _by_ray(kind, list(found), looked, destination)
        yield from map(printable, filter(None, [by_ray, _by_hand(kind, list(found), looked, by_ray)]))


def _by_ray(kind: Archive, places: Sequence[str], looked: Sequence[Contents | None], destination: str) -> str:
    """Return a line on how to enhance images in archives of a kind by Ray Data; "" if that cannot be."""
    known = [each for each in looked if each is not None]
    first = next((each for each in known if each.column), Contents())
    if not kind.read or not (first.column or None in looked) or not all(each.has_samples for each in known):
        return ""
    column, inside = first.column or "COLUMN", "" if first.inside == "bytes" else first.inside  # which it finds itself
    folder = posixpath.splitext(destination)[0] if archive_of(destination) else destination
    steps = [
        f"ray.data.{kind.read.format(place=_named(kind, places))}",
        f"map(lambda row: {{**row, {column!r}: row[{column!r}][{inside!r}]}})" if inside else "",
        ENHANCED.format(column={"column": column}),
        kind.write.format(place=repr(folder)),
    ]
    return f"to enhance them where they are, in Python: import nightlift, ray; {'.'.join(filter(None, steps))}"


def _by_hand(kind: Archive, places: Sequence[str], looked: Sequence[Contents | None], by_ray: str) -> str:
    """Return a line on how to get files out of archives of a kind; "" if there are none."""
    if not any(each is None or each.images or each.videos or each.column for each in looked):
        return ""
    if kind.unpack:
        copy = "" if protocol_of(places[0]) == LOCAL else "copy it to a disk, "
        return f"{'or ' if by_ray else ''}{copy}unpack it ({kind.unpack}), and give the folder with its files as SRC"
    return "" if by_ray else f"write the images of a {kind.noun} to files, and give their folder as SRC"


def _named(kind: Archive, places: Sequence[str]) -> str:
    """Return what Ray Data is given to read, as Python: the only place, or else the folders of all."""
    if len(places) > 1 and kind is not LANCE:
        folders = {parent(place) for place in places}
        places = sorted(each for each in folders if not any(is_inside(each, other) for other in folders))  # read whole
    return repr(places[0] if len(places) == 1 else list(places))
