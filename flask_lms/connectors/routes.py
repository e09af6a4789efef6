"""Addresses of an LMS type's own: what an LMS, a browser sent by it or an administrator calls.

Deny by default: a route is for administrators of the configuration's organization unless it says
that it is public, and then it has to see for itself who calls.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..encryption import Secret
from ..transport import Transport
from ..values import Administrator


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of a route, for one configuration; ``flask.request`` has the rest.

    :param configuration_id: found in the path; it isn't deleted.
    :param name: of the configuration.
    :param settings: as ``Connector.clean`` returned them.
    :param secrets: name → secret, decrypted.
    :param transport: the only way out; its ``store`` is the configuration's.
    :param administrator: who calls; None: the route is public.
    :param address: path of a route of the type → its absolute address for this configuration.
    :param save: settings → stored over the present ones, and noted in the history.
        :raises InvalidConfiguration: field by field.
    :param release: a participant's id, or None for all → what waits (``Verdict.WAITS``) is sent
        now; how many. Store first what it waited for.
    :param objectives: the ids of the attached objectives.
    """

    configuration_id: uuid.UUID
    organization_id: str
    name: str
    settings: Mapping[str, Any]
    secrets: Mapping[str, Secret] = field(repr=False)
    transport: Transport = field(repr=False)
    administrator: Administrator | None
    address: Callable[[str], str] = field(repr=False)
    save: Callable[[Mapping[str, Any]], None] = field(repr=False)
    release: Callable[[str | None], int] = field(repr=False)
    objectives: Callable[[], Sequence[str]] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Route:
    """One address.

    :param path: below ``/lms/types/<type>/<configuration>/``, such as ``launch``.
    :param view: answers it, as a view of Flask does. One for administrators is called with a post
        only if its CSRF token is right.
    :param methods: HTTP methods.
    :param is_public: no sign-in, no session and no CSRF token are asked for; who calls, and how
        often, is the view's own affair. Never give away there what an id in the path opens.
    :param frames: settings → origins that may show it in a frame, such as ``https://lms.example``,
        whatever the host says of its other pages; None: as those.
    """

    path: str
    view: Callable[[Call], Any]
    methods: tuple[str, ...] = ("GET",)
    is_public: bool = False
    frames: Callable[[Mapping[str, Any]], Sequence[str]] | None = None
