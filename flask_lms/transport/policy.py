"""Which addresses may be called.

Public addresses may. Private ones only when an entry (``LMS_ALLOWED_NETWORKS``, or what the host's
``egress_policy`` says of the organization) names their network or the host; link-local and
metadata addresses (the way into a cloud account) only when it names that very address. Ports of
databases only when it names the port. A name may be called when *all* its addresses may, and what
was checked is connected to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import urlsplit

from ssrfguard import BlockedAddressError, Observer, Policy, SSRFGuardError, Target

from ..settings import IPNetwork, Settings, read_entry
from .faults import Unreachable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


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
#: Ports of databases and of services that administer something, which speak HTTP themselves: only
#: for an entry that names the port.
ADMIN_PORTS = frozenset(
    (2019, 2381, 4001, 4243, 4646, 4848, 5601, 5984, 5985, 5986, 6443, 7199, 7474, 7687, 8086, 8091,
     8092, 8093, 8123, 8200, 8201, 8300, 8500, 8501, 8529, 8983, 9042, 9092, 9100, 9160, 9200, 9300,
     9990, 10248, 10249, 10255, 10256, 10257, 10259, 15671, 15672, 15692, 19999, 26257, 27018,
     27019, 28015, 28017)
)  # fmt: skip
PORTS = frozenset(range(1, 65536)) - BAD_PORTS - ADMIN_PORTS


@dataclass(frozen=True)
class AddressPolicy(Policy):
    """ssrfguard's policy with the two tiers of our allow-list.

    :param networks: listed networks.
    :param exact: listed single addresses, which may be metadata ones.
    :param only: nothing else may be called; empty: no such limit.
    :param names: listed host names, with the port that is opened there or None for all.
    :param ported: listed networks of which one port is opened.
    """

    networks: tuple[IPNetwork, ...] = ()
    exact: frozenset[IPAddress] = frozenset()
    only: tuple[IPNetwork, ...] = ()
    names: frozenset[tuple[str, int | None]] = frozenset()
    ported: tuple[tuple[IPNetwork, int], ...] = ()

    @classmethod
    def of(cls, settings: Settings, entries: Sequence[str] | None = None) -> AddressPolicy:
        """The policy of ``allow_http``, ``proxy_url`` and ``allowed_networks``.

        :param entries: in place of ``allowed_networks``.
        """
        networks: list[IPNetwork] = []
        names: set[tuple[str, int | None]] = set()
        ported: list[tuple[IPNetwork, int]] = []
        for entry in settings.allowed_networks if entries is None else entries:
            where, port = read_entry(entry)
            if isinstance(where, str):
                names.add((where, port))
            elif port is None:
                networks.append(where)
            else:
                ported.append((where, port))
        return cls(
            allowed_schemes=frozenset({"https", "http"} if settings.allow_http else {"https"}),
            allowed_ports=PORTS,
            allow_proxy=bool(settings.proxy_url),
            networks=tuple(networks),
            exact=_single(networks),
            names=frozenset(names),
            ported=tuple(ported),
        )

    def toward(self, url: str) -> AddressPolicy:
        """The policy for one URL: with what the entries open for its host and its port."""
        host, port = _place(url)
        host = host.rstrip(".")
        is_exact = (host, port) in self.names
        ported = tuple(network for network, of in self.ported if of == port)
        if port in ADMIN_PORTS:
            if not is_exact and not ported:
                return self
            only = () if is_exact else ported
            return _opened(self, (*ported, *(PRIVATE if is_exact else ())), only, port)
        is_named = is_exact or (host, None) in self.names
        if not is_named and not ported:
            return self
        return _opened(self, (*ported, *(PRIVATE if is_named else ())), (), port)

    def check(self, url: str) -> Target:
        """All that can be known of a URL without a look-up.

        :raises Unreachable: ``blocked``, or ``dns`` when no name can look like that.
        """
        try:
            return self.check_url(url)
        except SSRFGuardError as error:
            is_literal = isinstance(error.__cause__, BlockedAddressError)
            part = "address" if is_literal else self._part_at_fault(url)
        host, port = _place(url)
        raise Unreachable(
            "dns" if part == "name" else "blocked",
            {"host": host[:253], "port": port, "reason": part},
        )

    def check_url(self, url: str, *, observer: Observer | None = None) -> Target:
        """As ssrfguard's, with underscores: container networks use them in names.

        :raises SSRFGuardError: this is never called.
        """
        host, _ = _place(url)
        if "_" not in host:
            return super().check_url(url, observer=observer)
        return replace(super().check_url(url.replace("_", "-"), observer=observer), host=host)

    def check_address(self, address: str | IPAddress) -> None:
        """:raises BlockedAddressError: this address is never called."""
        ip = ipaddress.ip_address(address) if isinstance(address, str) else address
        if self.only and not _is_in(ip, self.only):
            raise BlockedAddressError(str(ip), "this port is not open there")
        if ip in self.exact:
            return
        if _is_in(ip, METADATA):
            raise BlockedAddressError(str(ip), "link-local or metadata address")
        if _is_in(ip, NOWHERE):
            raise BlockedAddressError(str(ip), "not an address of one host")
        verdict = self.denied_networks.classify(ip)
        carried = [inner for _, inner in verdict.chain]
        if ip.version == 6 and (int(ip) >> 32) & 0xFDFFFFFF == 0x00005EFE:
            # ISATAP: it ends in an IPv4 address (RFC 5214, section 6.1).
            carried.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
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

    def _part_at_fault(self, url: str) -> str:
        """Which part of a refused URL it is, in one word; ssrfguard says it in sentences only.

        ``name``: no host can be called that. All else is an attempt, or a mistake of ours.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            return "url"
        if parts.scheme not in self.allowed_schemes:
            return "scheme"
        if "@" in parts.netloc:
            return "userinfo"
        try:
            is_open = parts.port is None or parts.port in self.allowed_ports
        except ValueError:
            is_open = False
        if not is_open:
            return "port"
        host = parts.hostname or ""
        has_control = any(c <= " " or c == "\x7f" for c in url)  # urlsplit drops some silently
        is_long = len(host) > 253 or len(url) > self.max_url_length
        if has_control or is_long or not host or "%" in host:
            return "url"
        try:
            name = host if host.isascii() else host.encode("idna").decode()
        except UnicodeError:
            return "name"
        # Only digits and dots, and no address: one in a spelling of its own.
        return "encoded" if set(name) <= set("0123456789.") else "name"


@lru_cache(256)
def _opened(
    policy: AddressPolicy, networks: tuple[IPNetwork, ...], only: tuple[IPNetwork, ...], port: int
) -> AddressPolicy:
    """A policy with more open."""
    is_special = port in ADMIN_PORTS
    return replace(
        policy,
        allowed_ports=policy.allowed_ports | {port} if is_special else policy.allowed_ports,
        networks=(*policy.networks, *networks),
        exact=policy.exact | _single(networks),
        only=only,
    )


def _single(networks: Iterable[IPNetwork]) -> frozenset[IPAddress]:
    return frozenset(net.network_address for net in networks if net.num_addresses == 1)


_PUBLIC = AddressPolicy()


def is_public(address: IPAddress) -> bool:
    """Whether it may be called without an entry."""
    try:
        _PUBLIC.check_address(address)
    except BlockedAddressError:
        return False
    return True


def _is_in(ip: IPAddress, networks: tuple[IPNetwork, ...]) -> bool:
    return any(ip.version == network.version and ip in network for network in networks)


def _place(url: str) -> tuple[str, int]:
    """Host and port as far as they can be read; never user-info."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:
        return "", 0
