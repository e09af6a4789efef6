"""Hosts whose names are everybody's names, and whose ids are not strings."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from flask_lms import Administrator, ConfigurationError, Objective, Participant
from flask_lms.database.models import Base
from flask_lms.testing import FakeLRS
from tests.hosts.support import walk
from tests.pages.support import form_of
from tests.world import build_world, result, standing

OURS = sorted(mapper.class_.__name__ for mapper in Base.registry.mappers)
GENERIC = [*OURS, "Message", "Question", "Answer", "State", "Status", "Settings", "Job"]


def test_a_host_with_classes_and_tables_of_the_same_names_as_ours(url: str, lrs: FakeLRS) -> None:
    db = SQLAlchemy()
    made: dict[str, Any] = {}
    for name in GENERIC:
        columns: dict[str, Any] = {
            "__tablename__": name.lower(),
            "id": sa.Column(sa.Integer, primary_key=True),
            "text": sa.Column(sa.String(20)),
            "parent_id": sa.Column(sa.ForeignKey("configuration.id")),
            # By name, as each registry resolves them for itself.
            "parent": relationship("Configuration", remote_side="Configuration.id"),
        }
        made[name] = type(name, (db.Model,), columns)
    with standing(build_world(url, db=db)) as world:
        walk(world, lrs)
        with world.app.app_context():
            root = made["Configuration"](text="theirs")
            db.session.add_all([root, *(made[n](text=n, parent=root) for n in GENERIC)])
            world.lms.record(result("with theirs"))
            db.session.commit()
            for name in GENERIC:
                found = db.session.scalars(sa.select(made[name].text).order_by("id")).all()
                assert found[-1] == name
            assert len(world.rows()) == 2


def test_a_table_of_the_hosts_own_that_is_called_as_ours_is_refused_by_name(url: str) -> None:
    db = SQLAlchemy()

    class Learner(db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "lms_worker"
        number = sa.Column(sa.Integer, primary_key=True)

    with pytest.raises(ConfigurationError, match=r"table of its own called lms_worker.*Rename"):
        build_world(url, db=db)


def test_tables_that_the_host_reflected_before_are_no_clash(url: str, lrs: FakeLRS) -> None:
    with standing(build_world(url)):
        pass
    db = SQLAlchemy()
    engine = sa.create_engine(url)
    db.metadata.reflect(engine, only=["lms_worker", "lms_delivery"])
    engine.dispose()
    with standing(build_world(url, db=db)) as world:
        walk(world, lrs)


ULID = "01JB2Q9ZK4T7V0M3N5P6R8S9XW"


@pytest.mark.parametrize(("user", "organization"), [(ULID, "01JB2QA4WJ5C3F9E8D7B6A1ZYX"), (7, 42)])
def test_ids_that_are_ulids_or_whole_numbers(
    url: str, lrs: FakeLRS, user: Any, organization: Any
) -> None:
    with standing(build_world(url)) as world:
        world.who = Administrator(
            id=user, organization_id=organization, name="Ana", email="a@acme.example"
        )
        client = world.app.test_client()
        with world.app.app_context():
            one = world.attach(**lrs.settings, organization_id=str(organization)).id
            recorded = world.lms.record(
                result(
                    9_000_000_001,  # type: ignore[arg-type]
                    organization_id=organization,
                    objective=Objective(id="ppe", name="Put on PPE"),
                    participant=Participant(id=user, email="jane@acme.example"),
                    session_id=7,
                )
            )
            assert recorded.queued == 1
        answer = client.post(f"/lms/{one}/pause", data=form_of(client.get(f"/lms/{one}/pause")))
        assert answer.status_code == 303
        with world.app.app_context():
            assert world.lms.configurations.get(one).paused_by == "Ana"
            [delivery] = world.rows()
            assert delivery.participant_id == str(user)
            assert delivery.result_id == "9000000001"
        assert str(user) in client.get(f"/lms/deliveries/{delivery.id}").text


def test_a_typed_host_with_a_base_of_its_own(url: str, lrs: FakeLRS) -> None:
    class HostBase(DeclarativeBase):
        pass

    db = SQLAlchemy(model_class=HostBase)

    class Task(db.Model):  # type: ignore[name-defined, misc]
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]

    with standing(build_world(url, db=db)) as world:
        walk(world, lrs)
        with world.app.app_context():
            db.session.add(Task(title="Fire drill"))
            db.session.commit()
            assert db.session.scalar(sa.select(Task.title)) == "Fire drill"
