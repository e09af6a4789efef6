"""The objectives as a Tin Can file, from which many LMSs make entries of their catalogue."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree  # nosec B405 # written only, never read

from ..base import CatalogueEntry
from . import vocabulary

NAME = "tincan.xml"
#: Of the format, which has no other name.
_NAMESPACE = "http://projecttincan.com/tincan.xsd"
#: In no XML text (XML 1.0, 2.2).
_NO_XML = re.compile("[^\\t\\n\\r -\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def tincan(entries: Sequence[CatalogueEntry]) -> tuple[str, str]:
    """``tincan.xml``: an ``activity`` for each, with name, description and, where the host has a
    page about it, ``launch``, in this order.
    """
    root = ElementTree.Element("tincan", {"xmlns": _NAMESPACE})
    activities = ElementTree.SubElement(root, "activities")
    for entry in entries:
        about = entry.objective
        made = ElementTree.SubElement(
            activities, "activity", {"id": entry.activity_id, "type": vocabulary.OBJECTIVE}
        )
        texts = {
            "name": about.name,
            # Some importers refuse an activity without one.
            "description": about.description or about.name,
            "launch": about.url,
        }
        for tag, text in texts.items():
            if text:
                one = ElementTree.SubElement(made, tag, {"lang": about.language})
                one.text = _NO_XML.sub("", text)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return NAME, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'
