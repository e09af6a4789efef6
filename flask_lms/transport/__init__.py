"""The only outbound HTTP: guarded, timed, capped.

What holds for each request: its host's addresses were all checked and one of those is connected
to; TLS is verified against the name; redirects are returned, not followed; nothing of the
environment (proxies, ``.netrc``, CA variables) is used; it ends within
``LMS_TOTAL_TIMEOUT_SECONDS``; at most 64 kB of header and 16 kB of body are read.

ssrfguard looks up, checks and connects (``policy`` tells it what may be called). Ours are the time
limits, the caps, when a kept connection is used again (``http``), and what a failure means
(``faults``).

With ``LMS_PROXY_URL`` the proxy looks names up and connects, so addresses can't be pinned here.
Literal private addresses are still refused, and names that this machine can look up are still
checked; the proxy has to do the rest.
"""

from __future__ import annotations

from .faults import Unreachable
from .http import MOST_BODY_BYTES, MOST_HEADER_BYTES, Reply, Transport

__all__ = ["MOST_BODY_BYTES", "MOST_HEADER_BYTES", "Reply", "Transport", "Unreachable"]
