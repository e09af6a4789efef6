"""Every page and its states, by name."""

from __future__ import annotations

from flask_lms.database.models import DeliveryState
from tests.browser.conftest import Place


def paths_of(place: Place) -> dict[str, str]:
    """Name → path below the prefix."""
    ids = place.ids
    found = {
        "list": "/",
        "list-filtered": "/?status=paused",
        "list-nothing": "/?q=nothing",
        "new": "/new",
        **{f"overview-{name}": f"/{one}" for name, one in ids.items()},
        "overview-90-days": f"/{ids['connected']}?days=90",
        "test": f"/{ids['connected']}/test",
        "edit": f"/{ids['connected']}/edit",
        "pause": f"/{ids['connected']}/pause",
        "delete": f"/{ids['cant_connect']}/delete",
        "attach": f"/{ids['connected']}/objectives",
        "attached": f"/{ids['connected']}/objectives?show=attached",
        "attach-nothing": f"/{ids['connected']}/objectives?q=nothing",
        "alerts": f"/{ids['cant_connect']}/alerts",
        "alerts-empty": f"/{ids['connected']}/alerts",
        "objectives": "/objectives/",
        "objective": f"/objectives/harbor-1?preview={ids['connected']}",
        "objective-plain": "/objectives/harbor-50",
        "deliveries": "/deliveries",
        "deliveries-attention": "/deliveries?state=attention",
        "deliveries-nothing": "/deliveries?reason=nothing",
        "deliveries-of-one": f"/{ids['cant_connect']}/deliveries",
        "participants": "/participants",
        "participants-nothing": "/participants?q=nothing",
        "participants-unmatched": "/participants?show=unmatched",
        "participant-new": "/participants/new",
        "participants-upload": "/participants/upload",
        "activity-id": f"/{ids['connected']}/objectives/activity?objective=harbor-1",
        "check": f"/{ids['connected']}/check",
        "history": "/history",
        "help": "/help",
        "not-found": "/deliveries/00000000-0000-0000-0000-000000000000",
    }
    with place.site.app.app_context():
        people = place.site.lms.for_organization("harbor").participants
        people.map("E0042", email="jane.doe@harbor.example", name="Jane Doe", by="Ana Ruiz")
        people.map("N" * 255, account_name="4711", account_home_page="https://hr.harbor.example/a")
        for state in DeliveryState:
            rows = place.site.lms.deliveries.list(states=(state,), limit=1).items
            found[f"delivery-{state.value}"] = f"/deliveries/{rows[0].id}"
    return found
