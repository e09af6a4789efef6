"""Any number of workers may tick at the same moment."""

from __future__ import annotations

import threading
from collections import Counter

from sqlalchemy.exc import OperationalError

from flask_lms.alerts import outages
from tests.alerts_support import Stage


def test_workers_that_tick_at_once_tell_each_outage_once(host):
    stage = Stage(host=host)
    for n in range(10):
        stage.down(stage.configuration(f"LMS{n} of a branch", (f"c{n}@acme.example",)))
    failed: list[BaseException] = []

    def tick() -> None:
        """As the ticker does it: what a database turns back is tried again."""
        with host.app.app_context():
            for tries_left in (2, 1, 0):
                try:
                    outages.tick(host.state, stage.now)
                    return
                except OperationalError as error:  # a deadlock, or SQLite's lock
                    if not tries_left:
                        failed.append(error)
                except Exception as error:
                    failed.append(error)
                    return
                finally:
                    host.db.session.remove()

    for minutes in (6, 24 * 60, 48 * 60):
        stage.clock.advance(minutes=minutes)
        stage.session.rollback()
        threads = [threading.Thread(target=tick) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    assert Counter(stage.kinds()) == {"error": 10, "still_down": 20}
