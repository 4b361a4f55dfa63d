"""Elements in XMP by the names of their tags, found in time that grows with the packet's length, whatever it holds."""

import re
from collections.abc import Callable, Iterator

START_TAG = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*>""")
MOST_UNENDED = 100  # start tags without an end, each of which is sought to the end of the packet


class Elements:
    """Elements, or attributes as well, whose names match a pattern.

    `names`: a pattern of prefix and name, without groups.
    """

    def __init__(self, names: str) -> None:
        self._start = re.compile(rf"<({names})(?=[\s/>])".encode())
        self._attribute = re.compile(rf"""\s(?:{names})\s*=\s*("[^"]*"|'[^']*')""".encode())

    def spans(self, packet: bytes) -> Iterator[tuple[int, int]]:
        """Yield beginning and end of each element, one behind the other."""
        at = unended = 0
        while unended < MOST_UNENDED and (found := self._start.search(packet, at)):
            end = _end(packet, found)
            if end is None:
                unended += 1
                at = found.end()
            else:
                yield found.start(), end
                at = end

    def found(self, packet: bytes) -> Iterator[bytes]:
        """Yield each element, with its tags."""
        return (packet[start:end] for start, end in self.spans(packet))

    def changed(self, packet: bytes, change: Callable[[bytes], bytes]) -> bytes:
        """Return the packet with each element changed."""
        parts, at = [], 0
        for start, end in self.spans(packet):
            parts += [packet[at:start], change(packet[start:end])]
            at = end
        return b"".join((*parts, packet[at:]))

    def are_in(self, packet: bytes) -> bool:
        """Return whether there is such an element or attribute."""
        return self._attribute.search(packet) is not None or next(self.spans(packet), None) is not None

    def removed(self, packet: bytes) -> bytes:
        """Return the packet without these elements and attributes."""
        return self._attribute.sub(b"", self.changed(packet, lambda element: b""))


def _end(packet: bytes, start: re.Match[bytes]) -> int | None:
    """Return where the element that begins with this tag ends; None if it does not."""
    tag = START_TAG.match(packet, start.start())
    if tag is None or tag[0].endswith(b"/>"):
        return None if tag is None else tag.end()
    end = re.compile(rb"</" + re.escape(start[1]) + rb"\s*>").search(packet, tag.end())
    return None if end is None else end.end()
