"""What is pinned is what setup.cfg asks for, on every Python, by hash and from no named place."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).parent.parent.parent
FOLDER = TOP / "constraints"
REMEDY = "./run audit writes constraints/ anew"


def pins(name: str) -> list[Requirement]:
    text = (FOLDER / f"{name}.txt").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", line) for line in lines)
    return [Requirement(line.split("--hash")[0]) for line in lines]


def wanted(*extras: str) -> list[Requirement]:
    parser = configparser.ConfigParser()
    parser.read(TOP / "setup.cfg")
    sections = [
        parser["options"]["install_requires"],
        *(parser["options.extras_require"][extra] for extra in extras),
    ]
    found = [Requirement(line) for text in sections for line in text.split("\n") if line]
    return [one for one in found if canonicalize_name(one.name) != "flask-lms"]


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize(("name", "extras"), [("product", ()), ("test", ("test", "demo", "docs"))])
def test_the_pins_satisfy_what_setup_asks_for(
    name: str, extras: tuple[str, ...], version: str
) -> None:
    place = {
        "python_version": version,
        "python_full_version": f"{version}.7",
        "sys_platform": "linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    here = [one for one in pins(name) if one.marker is None or one.marker.evaluate(place)]
    pinned = {canonicalize_name(one.name): next(iter(one.specifier)).version for one in here}
    assert len(pinned) == len(here)  # one version each
    for one in wanted(*extras):
        if one.marker is None or one.marker.evaluate(place):
            version_here = pinned.get(canonicalize_name(one.name))
            assert version_here is not None, f"{one.name} is not pinned: {REMEDY}"
            assert one.specifier.contains(version_here, prereleases=True), f"{one}: {REMEDY}"


def test_hosts_get_the_versions_that_are_tested() -> None:
    tested = {(one.name, str(one.specifier)) for one in pins("test")}
    assert {(one.name, str(one.specifier)) for one in pins("product")} <= tested, REMEDY


def test_the_bill_of_materials_lists_what_the_product_needs() -> None:
    bill = json.loads((FOLDER / "sbom.json").read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "Flask-LMS")
    listed = {(one["name"], one["version"]) for one in bill["components"]}
    pinned = {(one.name, next(iter(one.specifier)).version) for one in pins("product")}
    assert listed == pinned, REMEDY
    needs = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    direct = {re.sub(r"pkg:\w+/(.*)@.*", r"\1", ref) for ref in needs["Flask-LMS"]}
    assert {"flask", "rq", "sqlalchemy", "requests"} <= direct
    assert all(one["externalReferences"][0]["hashes"] for one in bill["components"])


def test_no_registry_is_named() -> None:
    for path in FOLDER.iterdir():
        assert not re.search(r"://(?!cyclonedx\.org/)|index-url|find-links", path.read_text()), path
