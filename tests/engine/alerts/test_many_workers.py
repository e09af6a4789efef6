"""Any number of workers may tick at the same moment."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy.exc import OperationalError

from flask_lms.alerts import outages
from tests.world import World, make_world


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with make_world(database_url) as made:
        made.freeze()
        yield made


def test_workers_that_tick_at_once_tell_each_outage_once(world):
    for n in range(10):
        world.down(world.connected(f"LMS{n} of a branch", (f"c{n}@acme.example",)))
    failed: list[BaseException] = []

    def tick() -> None:
        """As the ticker does it: what a database turns back is tried again."""
        with world.app.app_context():
            for tries_left in (2, 1, 0):
                try:
                    outages.tick(world.state, world.now)
                    return
                except OperationalError as error:  # a deadlock, or SQLite's lock
                    if not tries_left:
                        failed.append(error)
                except Exception as error:
                    failed.append(error)
                    return
                finally:
                    world.db.session.remove()

    for minutes in (6, 24 * 60, 48 * 60):
        world.clock.advance(minutes=minutes)
        world.session.rollback()
        threads = [threading.Thread(target=tick) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    assert Counter(world.kinds()) == {"error": 10, "still_down": 20}
