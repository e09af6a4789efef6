"""The pages for organization administrators: one blueprint, whose map is the table below."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from flask import Blueprint
from flask.typing import ResponseReturnValue

from ..connectors.base import Connector
from ..errors import NotFound
from . import (
    alerts,
    catalogue,
    configurations,
    deliveries,
    editing,
    help,
    history,
    objectives,
    pages,
    participants,
    probe,
    reconcile,
    routes,
    secrets,
    tasks,
    toolbox,
)


class _Page(NamedTuple):
    rule: str
    endpoint: str
    view: Callable[..., ResponseReturnValue]
    methods: str = "GET"


_ONE = "/<uuid:configuration_id>"

PAGES = (
    _Page("/", "index", configurations.index),
    _Page("/new", "new", editing.basics, "GET POST"),
    _Page("/new/<type>", "new_connection", editing.connection, "GET POST"),
    _Page(_ONE, "overview", configurations.overview),
    _Page(f"{_ONE}/test", "test", probe.page, "GET POST"),
    _Page(f"{_ONE}/sample", "sample", probe.sample, "GET POST"),
    _Page(f"{_ONE}/check", "reconcile", reconcile.page, "GET POST"),
    _Page(f"{_ONE}/edit", "edit", editing.edit, "GET POST"),
    _Page(f"{_ONE}/send-waiting", "send_waiting", configurations.send_waiting, "POST"),
    _Page(f"{_ONE}/pause", "pause", configurations.pause, "GET POST"),
    _Page(f"{_ONE}/resume", "resume", configurations.resume, "POST"),
    _Page(f"{_ONE}/delete", "delete", configurations.delete, "GET POST"),
    _Page(f"{_ONE}/restore", "restore", configurations.restore, "POST"),
    _Page(f"{_ONE}/objectives", "attach", objectives.of_configuration, "GET POST"),
    _Page(f"{_ONE}/objectives/past", "backfill", objectives.backfill, "GET POST"),
    _Page(f"{_ONE}/objectives/detach", "detach", objectives.detach, "GET POST"),
    _Page(f"{_ONE}/objectives/activity", "activity_id", catalogue.activity_id, "GET POST"),
    _Page(f"{_ONE}/objectives/activities", "upload_activity_ids", catalogue.upload, "GET POST"),
    _Page(f"{_ONE}/objectives/activities.csv", "activity_ids_csv", catalogue.activity_ids_csv),
    _Page(f"{_ONE}/objectives/catalogue.csv", "catalogue_csv", catalogue.as_csv),
    _Page(f"{_ONE}/objectives/tincan.xml", "catalogue_file", catalogue.as_file),
    _Page("/objectives/", "objectives", objectives.index),
    _Page("/objectives/<path:objective_id>", "objective", objectives.one, "GET POST"),
    _Page("/deliveries", "deliveries", deliveries.index),
    _Page("/deliveries.csv", "deliveries_csv", deliveries.as_csv),
    _Page("/deliveries/<any('send-again', 'check-again', 'cancel'):act>", "delivery_act",
          deliveries.confirm_act, "GET POST"),
    _Page("/deliveries/<uuid:delivery_id>", "delivery", deliveries.one),
    _Page(f"{_ONE}/deliveries", "configuration_deliveries", deliveries.of_configuration),
    _Page(f"{_ONE}/secrets", "secrets", secrets.page, "GET POST"),
    _Page(f"{_ONE}/alerts", "alerts", alerts.page, "GET POST"),
    _Page("/tasks/<uuid:task_id>", "task", tasks.page),
    _Page("/tasks/<uuid:task_id>/stop", "stop_task", tasks.stop, "GET POST"),
    _Page("/participants", "participants", participants.index),
    _Page("/participants/new", "add_participant", participants.new, "GET POST"),
    _Page("/participants/<uuid:mapping_id>", "participant", participants.one, "GET POST"),
    _Page("/participants/<uuid:mapping_id>/remove", "remove_participant", participants.remove,
          "GET POST"),
    _Page("/participants/upload", "upload_participants", participants.upload, "GET POST"),
    _Page("/participants.csv", "participants_csv", participants.as_csv),
    _Page("/participants/unmatched.csv", "unmatched_csv", participants.unmatched_csv),
    _Page("/history", "history", history.page),
    _Page("/history.csv", "history_csv", history.as_csv),
    _Page("/help", "help", help.page),
    _Page("/health.json", "health", configurations.health),
    _Page("/profile.json", "profile", help.profile),
    _Page("/types/<type>/schema.json", "schema", help.schema),
    _Page("/mute/<token>", "mute", alerts.mute, "GET POST"),
)  # fmt: skip


def make_blueprint(connectors: Iterable[Connector] = ()) -> Blueprint:
    """The blueprint ``lms``. Deny by default: every page of it is guarded, and every route of an
    LMS type that doesn't say that it is public.

    :param connectors: whose routes stand beside the pages.
    """
    blueprint = Blueprint("lms", "flask_lms", template_folder="templates", static_folder="static")
    for page in PAGES:
        blueprint.add_url_rule(
            page.rule,
            page.endpoint,
            pages.transactional(page.view),
            methods=page.methods.split(),
        )
    for connector in connectors:
        for rule, name, view, route in routes.views(connector):
            blueprint.add_url_rule(rule, name, view, methods=route.methods)
    blueprint.before_request(pages.only_administrators)
    blueprint.url_value_preprocessor(pages.exempt_signed_pages)
    blueprint.register_error_handler(NotFound, pages.not_found)
    blueprint.record_once(toolbox.install)
    return blueprint
