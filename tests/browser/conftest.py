"""One filled site, its server and one browser for all tests of a file."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.pages.site import fill, make_site
from tests.requirements_support import need
from tests.world import World


@dataclass(kw_only=True)
class Place:
    """A filled site at an address."""

    site: World
    url: str
    ids: dict[str, uuid.UUID]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    need("browser")
    from .support import serve

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    folder = tmp_path_factory.mktemp("place")
    with (
        make_site(f"sqlite:///{folder / 'site.db'}", PROPAGATE_EXCEPTIONS=False) as site,
        serve(site.app) as url,
    ):
        yield Place(site=site, url=f"{url}/lms", ids=fill(site))


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    need("browser")
    from .support import browse

    with browse() as browser:
        yield browser
