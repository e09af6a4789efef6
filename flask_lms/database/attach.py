"""Attaching the tables to the host's ``db``, so that its own tools create and migrate them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import current_app, has_app_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.sql.elements import conv

from ..errors import ConfigurationError
from .models import Base


class _BindOfTheCurrentApp(dict[str, Any]):
    """``MetaData.info`` whose ``bind_key`` is that of the app on duty.

    Flask-SQLAlchemy's session finds the engine of a mapped class in its metadata's ``info``. The
    classes are shared by every app of the process, their bind key is not.
    """

    def __contains__(self, key: object) -> bool:
        return key == "bind_key" and self._bind_key() is not None

    def __getitem__(self, key: str) -> Any:
        if key in self:
            return self._bind_key()
        raise KeyError(key)

    @staticmethod
    def _bind_key() -> str | None:
        if not has_app_context():
            return None
        state = current_app.extensions.get("lms_state")
        return None if state is None else state.settings.bind_key


Base.metadata.info = _BindOfTheCurrentApp()


# Every name is final: a host's naming convention with the token ``constraint_name`` would change it
# in the host's metadata, and its migrations once more.
for _table in Base.metadata.tables.values():
    _named: list[sa.Constraint | sa.Index] = [*_table.constraints, *_table.indexes]
    for _one in _named:
        _one.name = conv(str(_one.name))


def attach(db: SQLAlchemy, bind_key: str | None) -> None:
    """Copy every table into the host's metadata; nothing is created.

    :param db: the host's Flask-SQLAlchemy object.
    :param bind_key: the bind under which the tables live, or None for the default one.
    :raises ConfigurationError: the host's metadata has a schema, which these tables can't follow.
    """
    metadata = db._make_metadata(bind_key) if bind_key else db.metadata
    if metadata.schema:
        raise ConfigurationError(
            [
                f"The db's MetaData has schema={metadata.schema!r}: tables of Flask-LMS can't live "
                "in a named schema. Give them a bind of their own with LMS_BIND_KEY."
            ]
        )
    for table in Base.metadata.sorted_tables:
        theirs = metadata.tables.get(table.name)
        if theirs is not None:  # another app's of the same db, or reflected
            if not set(table.columns.keys()) <= set(theirs.columns.keys()):
                raise ConfigurationError(
                    [
                        f"The host has a table of its own called {table.name}. Rename it, or give "
                        "the tables of Flask-LMS a bind of their own with LMS_BIND_KEY."
                    ]
                )
            continue
        copy = table.to_metadata(metadata)
        for column in copy.columns:
            if isinstance(column.type, sa.types.TypeDecorator):
                column.type = column.type.impl_instance
