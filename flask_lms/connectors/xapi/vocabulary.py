"""IRIs and other fixed words of the statements (xAPI 1.0.3, ADL and cmi5 vocabularies)."""

from __future__ import annotations

import uuid

#: All statement ids and registrations derive from it; it never changes.
NAMESPACE = uuid.UUID("5d3b2f6c-5c0e-5d29-9d0a-7a3a7d5a1f0e")

VERBS = "http://adlnet.gov/expapi/verbs/"
PASSED = VERBS + "passed"
FAILED = VERBS + "failed"
COMPLETED = VERBS + "completed"
#: Data 2.3.2: a statement with this verb takes another one back.
VOIDED = VERBS + "voided"

ACTIVITIES = "http://adlnet.gov/expapi/activities/"
OBJECTIVE = ACTIVITIES + "objective"
SIMULATION = ACTIVITIES + "simulation"
PROFILE = ACTIVITIES + "profile"
STEP = "http://id.tincanapi.com/activitytype/step"

#: The published profile that every statement follows (``profile.json``), the same for every host.
OBJECTIVE_RESULT = "urn:uuid:68312f5c-eadd-5552-9c18-6313ba6c0fd4"

#: Share of the work done, whole per cent (cmi5 9.5.5.2).
PROGRESS = "https://w3id.org/xapi/cmi5/result/extensions/progress"

#: Below the host's activity base URL.
STEPS_EXTENSION = "extensions/steps"
SESSION_EXTENSION = "extensions/session"
TEST_EXTENSION = "extensions/test"

VERSIONS = ("1.0.3", "2.0.0")
VERSION_HEADER = "X-Experience-API-Version"

#: Longest statement in bytes of UTF-8: what every database's text column holds.
MOST_BYTES = 60_000
