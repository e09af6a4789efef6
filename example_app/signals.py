"""What happens in Harbor Training, for whoever listens. It knows nothing of LMSs."""

from blinker import Namespace

#: ``attempt_finished.send(app, attempt=…)``, in the transaction that stores the attempt's end.
attempt_finished = Namespace().signal("attempt-finished")
