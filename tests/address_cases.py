"""Addresses that must never be called, whatever way they come in; and some that must.

The table is run through the transport, the form, the connection test and the worker. In a URL
``{port}`` is the port of a listener on loopback that must not be reached. ``answers`` are what the
name resolves to: one tuple a look-up, the last one for ever.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

Answers = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class AddressCase:
    """One URL and what its name resolves to.

    :param cause: what the transport must call it.
    """

    name: str
    url: str
    answers: Mapping[str, Answers] = field(default_factory=dict)
    cause: str = "blocked"
    allowed_networks: tuple[str, ...] = ()


def _literals(group: str, *hosts: str, cause: str = "blocked") -> list[AddressCase]:
    return [
        AddressCase(f"{group} {host}", f"https://{host}:{{port}}/xapi", cause=cause)
        for host in hosts
    ]


def _names(group: str, *addresses: str) -> list[AddressCase]:
    return [
        AddressCase(
            f"{group} {address}",
            "https://lms.example.com:{port}/xapi",
            {"lms.example.com": ((address,),)},
        )
        for address in addresses
    ]


_PUBLIC = "93.184.215.14"

BLOCKED: list[AddressCase] = [
    *_literals(
        "loopback", "127.0.0.1", "127.0.0.2", "127.255.255.254", "[::1]", "[0:0:0:0:0:0:0:1]"
    ),
    *_literals(
        "spelling",
        "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001", "127.1", "127.0.1",
        "127.0.0.1.", "127.000.000.001", "0", "0.0.0.0",
        "①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.0.0.1",
    ),
    *_literals("encoded", "%31%32%37.0.0.1", "127.0.0.1%00.example.com", "[::1%25lo]", "[::1%lo]"),
    *_literals(
        "private", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
        "198.18.0.1", "192.0.0.8", "192.0.2.1", "203.0.113.9", "240.0.0.1", "255.255.255.255",
        "224.0.0.1", "239.255.255.250", "192.88.99.1",
    ),
    *_literals(
        "metadata", "169.254.169.254", "169.254.170.2", "[fd00:ec2::254]", "[fd20:ce::254]",
        "100.100.100.200", "168.63.129.16", "192.0.0.192",
    ),
    *_literals(
        "IPv6", "[::]", "[fe80::1]", "[fc00::1]", "[fd12:3456::1]", "[ff02::1]", "[fec0::1]",
        "[2001:db8::1]", "[100::1]", "[3fff::1]", "[4000::1]",
    ),
    *_literals(
        "IPv4 inside IPv6",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]",
        "[::ffff:169.254.169.254]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001:0:7f00:1::1]",
        "[2606:4700::5efe:7f00:1]", "[64:ff9b::a83f:8110]",
    ),
    *_names(
        "name of", "127.0.0.1", "::1", "10.1.2.3", "169.254.169.254", "fe80::1", "0.0.0.0",
        "::ffff:127.0.0.1", "64:ff9b::7f00:1", "192.168.0.10", "fd00:ec2::254", "168.63.129.16",
        "224.0.0.251", "192.88.99.1",
    ),
    AddressCase(
        "mixed answers, public first",
        "https://lms.example.com:{port}/",
        {"lms.example.com": ((_PUBLIC, "127.0.0.1"),)},
    ),
    AddressCase(
        "mixed answers, private first",
        "https://lms.example.com:{port}/",
        {"lms.example.com": (("127.0.0.1", _PUBLIC),)},
    ),
    AddressCase(
        "mixed families",
        "https://lms.example.com:{port}/",
        {"lms.example.com": ((_PUBLIC, "::1"),)},
    ),
    AddressCase("localhost", "https://localhost:{port}/", {"localhost": (("127.0.0.1",),)}),
    AddressCase("LOCALHOST.", "https://LOCALHOST.:{port}/", {"localhost.": (("::1",),)}),
    AddressCase("subdomain of localhost", "https://a.localhost:{port}/",
                {"a.localhost": (("127.0.0.1",),)}),
    AddressCase("IDN of localhost", "https://ⓁⓄⒸⒶⓁⒽⓄⓈⓉ:{port}/", {"localhost": (("127.0.0.1",),)}),
    AddressCase("trailing dot", "https://lms.example.com.:{port}/",
                {"lms.example.com.": (("127.0.0.1",),)}),
    AddressCase("IDN", "https://bücher.example:{port}/",
                {"xn--bcher-kva.example": (("127.0.0.1",),)}),
    AddressCase("underscore", "https://my_lms.example.com:{port}/",
                {"my_lms.example.com": (("127.0.0.1",),)}),
    AddressCase("user-info before a private host", "https://lms.example.com@127.0.0.1:{port}/"),
    AddressCase("user-info with a password", "https://user:pass@localhost:{port}/"),
    AddressCase("backslash", "https://lms.example.com\\@127.0.0.1:{port}/"),
    AddressCase("fragment before at", "https://127.0.0.1:{port}#@lms.example.com/"),
    AddressCase("tab in the host", "https://127.0.\t0.1:{port}/"),
    AddressCase("line feed in the host", "https://lms.example.com\n:{port}/"),
    AddressCase("space in the host", "https://127.0.0.1 .example.com:{port}/"),
    AddressCase("plain http", "http://127.0.0.1:{port}/"),
    AddressCase("scheme file", "file:///etc/passwd"),
    AddressCase("scheme gopher", "gopher://127.0.0.1:{port}/_x"),
    AddressCase("scheme ftp", "ftp://127.0.0.1:{port}/"),
    AddressCase("no scheme", "//127.0.0.1:{port}/"),
    AddressCase("port of SSH", "https://93.184.215.14:22/"),
    AddressCase("port of SMTP", "https://93.184.215.14:25/"),
    AddressCase("port of Redis", "https://93.184.215.14:6379/"),
    AddressCase("port of the Docker API", "https://93.184.215.14:2375/"),
    AddressCase("port 0", "https://93.184.215.14:0/"),
    AddressCase("port too high", "https://93.184.215.14:65536/"),
    AddressCase("port no number", "https://93.184.215.14:8o/"),
    AddressCase("broken brackets", "https://[::1:{port}/"),
    AddressCase("zero-width space", "https://127.0.0.1\u200b:{port}/"),
    AddressCase("very long", "https://" + "a." * 5000 + "example.com:{port}/"),
    AddressCase("a metadata address in a listed network", "https://169.254.169.254:{port}/",
                allowed_networks=("169.254.0.0/16", "0.0.0.0/0", "::/0")),
    AddressCase("Alibaba's in a listed network", "https://100.100.100.200:{port}/",
                allowed_networks=("100.64.0.0/10",)),
    AddressCase("AWS's IPv6 in a listed network", "https://[fd00:ec2::254]:{port}/",
                allowed_networks=("fc00::/7",)),
    AddressCase("a listed name at a metadata address", "https://lms.intranet:{port}/",
                {"lms.intranet": (("169.254.169.254",),)}, allowed_networks=("lms.intranet",)),
    AddressCase("a mapped address and listed ::/0", "https://[::ffff:127.0.0.1]:{port}/",
                allowed_networks=("::/0",)),
    AddressCase("a neighbour of a listed address", "https://10.0.0.6:{port}/",
                allowed_networks=("10.0.0.5",)),
    AddressCase("a name below a listed name", "https://evil.lms.intranet:{port}/",
                {"evil.lms.intranet": (("127.0.0.1",),)}, allowed_networks=("lms.intranet",)),
    AddressCase("a name that ends like a listed one", "https://evil-lms.intranet:{port}/",
                {"evil-lms.intranet": (("127.0.0.1",),)}, allowed_networks=("lms.intranet",)),
    AddressCase("multicast in a listed network", "https://224.0.0.1:{port}/",
                allowed_networks=("0.0.0.0/0",)),
    AddressCase("this host in a listed network", "https://0.0.0.0:{port}/",
                allowed_networks=("0.0.0.0/0",)),
    AddressCase("no such name", "https://nowhere.invalid:{port}/", cause="dns"),
    AddressCase("label too long", f"https://{'a' * 64}.example.com:{{port}}/", cause="dns"),
    AddressCase("empty label", "https://lms..example.com:{port}/", cause="dns"),
]  # fmt: skip

#: These reach the listener (``http``, as it has no certificate).
ALLOWED: list[AddressCase] = [
    AddressCase("a listed network", "http://127.0.0.1:{port}/", allowed_networks=("127.0.0.0/8",)),
    AddressCase("a listed address", "http://127.0.0.1:{port}/", allowed_networks=("127.0.0.1",)),
    AddressCase("a listed IPv6 address", "http://[::1]:{port}/", allowed_networks=("::1",)),
    AddressCase("a listed name", "http://lms.intranet:{port}/",
                {"lms.intranet": (("127.0.0.1",),)}, allowed_networks=("lms.intranet",)),
    AddressCase("a listed name in capitals", "http://LMS.Intranet:{port}/",
                {"lms.intranet": (("127.0.0.1",),)}, allowed_networks=("lms.intranet",)),
    AddressCase("a listed name with its last dot", "http://lms.intranet.:{port}/",
                {"lms.intranet.": (("127.0.0.1",),)}, allowed_networks=("lms.intranet",)),
    AddressCase("a listed name with an underscore", "http://learning_locker:{port}/",
                {"learning_locker": (("127.0.0.1",),)}, allowed_networks=("learning_locker",)),
    AddressCase("a name in a listed network", "http://lms.example.com:{port}/",
                {"lms.example.com": (("127.0.0.1",),)}, allowed_networks=("127.0.0.0/8",)),
    AddressCase("an international name", "http://bücher.example:{port}/",
                {"xn--bcher-kva.example": (("127.0.0.1",),)}, allowed_networks=("127.0.0.0/8",)),
    AddressCase("the second address when the first is dead", "http://lms.intranet:{port}/",
                {"lms.intranet": (("127.0.0.1", "::1"),)}, allowed_networks=("lms.intranet",)),
]  # fmt: skip


class Names:
    """Answers look-ups from a table instead of the network; addresses as the system would."""

    def __init__(self, answers: Mapping[str, Answers]) -> None:
        self._answers = {name: list(each) for name, each in answers.items()}
        self._real = socket.getaddrinfo
        self.asked: list[str] = []

    def __call__(self, host: Any, port: Any, *args: Any, **kw: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else str(host)
        answers = self._answers.get(name.lower())
        if answers is None:
            if any(c.isalpha() and c not in "abcdefx" for c in name.lower()):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return self._real(host, port, *args, **kw)  # a spelling of an address, or nothing
        self.asked.append(name)
        now = answers.pop(0) if len(answers) > 1 else answers[0]
        return [_row(address, int(port)) for address in now]


def _row(address: str, port: int) -> Any:
    if ipaddress.ip_address(address).version == 6:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


class Tripwire:
    """A listener on loopback, and a list of every address that this process connects to."""

    def __init__(self) -> None:
        self.touched: list[Any] = []
        self.requests: list[bytes] = []
        self.is_armed = False
        self._listeners = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._listeners[0].getsockname()[1]
        with contextlib.suppress(OSError):  # no IPv6 here
            self._listeners.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        self._threads = [
            threading.Thread(target=self._serve, args=(listener,), daemon=True)
            for listener in self._listeners
        ]
        for thread in self._threads:
            thread.start()
        sys.addaudithook(self._hear)  # can't be removed, so it is only armed while in use

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.is_armed and event == "socket.connect" and isinstance(args[1], tuple):
            self.touched.append(args[1])

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller:
                caller.settimeout(5)
                with contextlib.suppress(OSError):
                    self.requests.append(caller.recv(4096))
                    caller.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        self.is_armed = False
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture(scope="session")
def tripwire_of_session() -> Iterator[Tripwire]:
    tripwire = Tripwire()
    yield tripwire
    tripwire.close()


@pytest.fixture
def tripwire(tripwire_of_session: Tripwire) -> Iterator[Tripwire]:
    """Every connection of this test is in ``touched``."""
    tripwire_of_session.touched.clear()
    tripwire_of_session.requests.clear()
    tripwire_of_session.is_armed = True
    yield tripwire_of_session
    tripwire_of_session.is_armed = False
