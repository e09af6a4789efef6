"""Which addresses may be called.

Public addresses may. Private ones only when ``LMS_ALLOWED_NETWORKS`` names their network or the
host; link-local and metadata addresses (the way into a cloud account) only when it names that very
address. A name may be called when *all* its addresses may, and what was checked is connected to.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import ssrfguard
from ssrfguard import Address, BlockedAddressError, BlockedURLError, Policy, SSRFGuardError, Target

from ..settings import Settings
from .faults import Unreachable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _nets(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


#: Opened only by their very address: cloud metadata services and everything link-local.
METADATA = _nets(
    "169.254.0.0/16",  # AWS, Azure, Google, Oracle, DigitalOcean, OpenStack, Tencent, ECS tasks
    "fe80::/10",
    "fd00:ec2::/32",  # AWS over IPv6
    "fd20:ce::254/128",  # Google over IPv6
    "100.100.100.200/32",  # Alibaba
    "168.63.129.16/32",  # Azure's host agent: a public address that is local to each machine
    "192.0.0.192/32",  # Oracle, older machines
)
#: What a host name in the allow-list opens.
PRIVATE = _nets(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8",
    "fc00::/7", "::1/128",
)  # fmt: skip
#: Never the address of one host, however wide a listed network is.
NOWHERE = _nets("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")
#: All that IPv6 has given out to the world (RFC 4291, section 2.4).
_WORLD = ipaddress.IPv6Network("2000::/3")

#: Ports of other services, which a crafted request could speak to (the list of the Fetch standard,
#: and data stores). Every other port from 1 to 65535 may be called: self-hosted LMSs use many.
BAD_PORTS = frozenset(
    (1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
     103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465,
     512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993,
     995, 1433, 1521, 1719, 1720, 1723, 2049, 2375, 2376, 2379, 2380, 3306, 3659, 4045, 4190, 5060,
     5061, 5432, 5672, 6000, 6379, 6380, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
     10250, 11211, 27017)
)  # fmt: skip
PORTS = frozenset(range(1, 65536)) - BAD_PORTS


@dataclass(frozen=True)
class _Policy(Policy):
    """ssrfguard's policy with the two tiers of our allow-list.

    :param networks: listed networks.
    :param exact: listed single addresses, which may be metadata ones.
    """

    networks: tuple[IPNetwork, ...] = ()
    exact: frozenset[IPAddress] = frozenset()

    def check_address(self, address: str | IPAddress) -> None:
        """:raises BlockedAddressError: this address is never called."""
        ip = ipaddress.ip_address(address) if isinstance(address, str) else address
        if ip in self.exact:
            return
        if _is_in(ip, METADATA):
            raise BlockedAddressError(str(ip), "link-local or metadata address")
        if _is_in(ip, NOWHERE):
            raise BlockedAddressError(str(ip), "not an address of one host")
        verdict = self.denied_networks.classify(ip)
        carried = [inner for _, inner in verdict.chain] + _isatap(ip)
        for inner in carried:
            # An IPv4 address inside an IPv6 one: never by way of a listed network.
            if verdict.blocked or _is_in(inner, METADATA):
                raise BlockedAddressError(str(ip), f"carries {inner}")
            self.denied_networks.classify(inner).raise_if_blocked()
        if _is_in(ip, self.networks):
            return
        verdict.raise_if_blocked()
        if ip.version == 6 and not carried and ip not in _WORLD:
            raise BlockedAddressError(str(ip), "not a global unicast address")


def _is_in(ip: IPAddress, networks: tuple[IPNetwork, ...]) -> bool:
    return any(ip.version == network.version and ip in network for network in networks)


def _isatap(ip: IPAddress) -> list[IPAddress]:
    """The IPv4 address that an ISATAP address ends in (RFC 5214, section 6.1)."""
    if ip.version == 6 and (int(ip) >> 32) & 0xFDFFFFFF == 0x00005EFE:
        return [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)]
    return []


class Gate:
    """Decides by the settings who may be called, and looks names up.

    :param settings: ``allowed_networks``, ``allow_http``, ``connect_timeout_seconds``.
    """

    def __init__(self, settings: Settings) -> None:
        networks: list[IPNetwork] = []
        exact: list[IPAddress] = []
        hosts: set[str] = set()
        for entry in settings.allowed_networks:
            try:
                network = ipaddress.ip_network(entry)
            except ValueError:
                hosts.add(entry.lower().rstrip("."))
            else:
                if network.num_addresses == 1:
                    exact.append(network.network_address)
                networks.append(network)
        schemes = frozenset({"https", "http"} if settings.allow_http else {"https"})
        self._hosts = frozenset(hosts)
        self._policy = _Policy(
            allowed_schemes=schemes,
            allowed_ports=PORTS,
            networks=tuple(networks),
            exact=frozenset(exact),
        )
        # A listed name opens private ranges besides the listed networks.
        self._private_policy = replace(self._policy, networks=(*networks, *PRIVATE))
        self._seconds = settings.connect_timeout_seconds

    def policy(self, host: str) -> Policy:
        """The rule for addresses of this host."""
        is_listed = host.lower().rstrip(".") in self._hosts
        return self._private_policy if is_listed else self._policy

    def check(self, url: str) -> Target:
        """All that can be known of a URL without a look-up.

        :raises Unreachable: ``blocked``, or ``dns`` when no name can look like that.
        """
        facts = _facts(url)
        try:
            if "_" not in facts["host"]:
                return self._policy.check_url(url)
            # ssrfguard takes host names strictly; container networks use underscores.
            target = self._policy.check_url(url.replace("_", "-"))
            return replace(target, host=facts["host"])
        except BlockedURLError as error:
            is_name = "well-formed hostname" in error.reason or "usable name" in error.reason
            facts["reason"] = _why(error.reason)
            raise Unreachable("dns" if is_name else "blocked", facts) from None
        except (SSRFGuardError, ValueError, TypeError):
            raise Unreachable("blocked", {**facts, "reason": "url"}) from None

    def look_up(self, target: Target, seconds: float) -> tuple[Address, ...]:
        """Every address of the host, all of them allowed; never none.

        :param seconds: limit for the look-up.
        :raises Unreachable: ``dns`` or ``blocked``.
        """
        facts: dict[str, Any] = {"host": target.host, "port": target.port}

        def ask(*question: Any) -> list[Any]:
            return _bounded(lambda: socket.getaddrinfo(*question), min(seconds, 2 * self._seconds))

        try:
            return ssrfguard.resolve(target, policy=self.policy(target.host), resolver=ask)
        except BlockedAddressError as error:
            facts["reason"] = "mixed" if "both permitted and denied" in error.reason else "address"
            raise Unreachable("blocked", facts) from None
        except (OSError, ValueError):  # gaierror; UnicodeError of names that can't be encoded
            raise Unreachable("dns", facts) from None


def _bounded(ask: Callable[[], list[Any]], seconds: float) -> list[Any]:
    """``ask()`` within a limit: getaddrinfo has none of its own."""
    answer: list[list[Any]] = []
    failure: list[Exception] = []

    def run() -> None:
        try:
            answer.append(ask())
        except (OSError, ValueError) as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="lms-look-up", daemon=True)
    thread.start()
    thread.join(max(seconds, 0))
    if failure:
        raise failure[0]
    if not answer:
        raise socket.gaierror(socket.EAI_AGAIN, "the look-up took too long")
    return answer[0]


def _facts(url: object) -> dict[str, Any]:
    """Host and port as far as they can be read; never user-info."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        port = parts.port or (80 if parts.scheme == "http" else 443)
        return {"host": (parts.hostname or "")[:253], "port": port}
    except ValueError:
        return {"host": "", "port": 0}


def _why(reason: str) -> str:
    """Which part of a URL was refused, in one word."""
    for word, sign in (
        ("userinfo", "credentials"), ("scheme", "scheme"), ("port", "port"),
        ("name", "well-formed"), ("name", "usable name"), ("encoded", "digits and dots"),
    ):  # fmt: skip
        if sign in reason:
            return word
    return "address"
