"""The marks of a drawing, with what their groups say for them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SVG = "{http://www.w3.org/2000/svg}"


def drawn_marks(svg: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """Tag, attributes with the inherited ones, and title or text of each mark."""
    yield from _inside(ET.fromstring(svg), {})


def _inside(parent: ET.Element, inherited: dict[str, str]) -> Iterator[tuple[str, dict[str, str], str]]:
    for element in parent:
        tag, attributes = element.tag.removeprefix(_SVG), inherited | element.attrib
        if tag == "g":
            yield from _inside(element, attributes)
        else:
            yield tag, attributes, element.findtext(f"{_SVG}title") or element.text or ""
