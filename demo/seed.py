"""The people and objectives that are there at the start. All names are invented."""

from __future__ import annotations

from example_app.models import Objective, Organization, Step, User, db

#: Organization → its people as (name, login, is_admin).
PEOPLE: dict[str, list[tuple[str, str, bool]]] = {
    "Meridian Lines": [
        ("Ana Ruiz", "ana.ruiz@meridian.example", True),
        ("Jane Doe", "jane.doe@meridian.example", False),
        ("Liam Chen", "liam.chen@meridian.example", False),
        ("Sofia Rossi", "sofia.rossi@meridian.example", False),
        ("Noah Berg", "E001", False),
    ],
    "Alder Clinic": [
        ("Tom Okafor", "tom.okafor@alder.example", True),
        ("Mina Sato", "mina.sato@alder.example", False),
        ("Peter Novak", "peter.novak@alder.example", False),
        ("Aisha Khan", "aisha.khan@alder.example", False),
    ],
    # New here: nobody has connected an LMS yet.
    "Pine Street School": [
        ("Olga Lind", "olga.lind@pinestreet.example", True),
        ("Sam Reed", "sam.reed@pinestreet.example", False),
        ("Ivy Moss", "ivy.moss@pinestreet.example", False),
    ],
}

#: Organization → its objectives as (topic, name, description, minutes, steps).
OBJECTIVES: dict[str, list[tuple[str, str, str, int, list[str]]]] = {
    "Meridian Lines": [
        (
            "Safety on board",
            "Fire Safety",
            "Smoke in the engine room: raise the alarm, find the way out, report.",
            10,
            ["Raise the alarm", "Close the fire doors", "Report at the muster station"],
        ),
        (
            "Safety on board",
            "Man Overboard",
            "Somebody fell into the water. Keep sight of them until the boat is there.",
            6,
            ["Shout and throw a lifebuoy", "Keep pointing", "Call the bridge", "Launch the boat"],
        ),
        (
            "Cargo",
            "Dangerous Goods",
            "Read the labels and stow the containers apart that must not meet.",
            15,
            ["Read the declaration", "Check the labels", "Plan the stowage"],
        ),
        (
            "Office",
            "Spot the Phishing Mail",
            "Four mails, one of them wants your password.",
            5,
            ["Check the sender", "Look at the link", "Report it"],
        ),
    ],
    "Alder Clinic": [
        (
            "Hygiene",
            "Hand Hygiene",
            "The five moments, in the order of a real round.",
            8,
            ["Before the patient", "Before a clean task", "After fluids", "After the patient"],
        ),
        (
            "Emergency",
            "Cardiac Arrest",
            "Recognise it, call, press, shock.",
            5,
            ["Check for breathing", "Call the team", "Start compressions", "Use the defibrillator"],
        ),
        (
            "Medication",
            "Right Dose",
            "Work out the dose and let a second person check it.",
            12,
            ["Read the order", "Work it out", "Have it checked"],
        ),
    ],
    "Pine Street School": [
        (
            "Science",
            "Lab Safety",
            "Before the burner is lit: goggles, hair, gas tap, way out.",
            8,
            ["Put on the goggles", "Tie back long hair", "Find the gas tap"],
        ),
        (
            "On the road",
            "Bicycle Check",
            "Two minutes before each ride.",
            4,
            ["Test the brakes", "Press the tyres", "Switch on the lights"],
        ),
    ],
}


def seed() -> None:
    """Add organizations, people and objectives; commits."""
    for name, people in PEOPLE.items():
        organization = Organization(name=name)
        db.session.add(organization)
        db.session.flush()
        for person, login, is_admin in people:
            db.session.add(
                User(organization=organization, name=person, login=login, is_admin=is_admin)
            )
        for topic, title, description, minutes, steps in OBJECTIVES[name]:
            db.session.add(
                Objective(
                    organization_id=organization.id,
                    topic=topic,
                    name=title,
                    description=description,
                    minutes=minutes,
                    steps=[Step(number=n, name=step) for n, step in enumerate(steps, 1)],
                )
            )
        db.session.flush()
    db.session.commit()
