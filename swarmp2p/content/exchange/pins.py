"""Whom TLS connections are made with: certificates that members showed over the authenticated network, and no others.

Python's TLS has no callback to check a certificate by rules of one's own, but it trusts what it is told to. So each side
learns the other's certificate beforehand (`Endpoint`), and the handshake refuses all others.
"""

import ssl
import tempfile
import threading
from collections.abc import Collection
from dataclasses import dataclass

from swarmp2p.core.types import Address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a member's TLS listener is: its certificate in DER, and hosts with ports, the likeliest first."""

    certificate: bytes
    addresses: tuple[tuple[str, int], ...]


class Pins:
    """The certificates of members, and the contexts for TLS that trust exactly these. Thread-safe.

    Args:
        chain: PEM of the own certificate and its private key.
    """

    def __init__(self, chain: bytes) -> None:
        self._chain = chain
        self._lock = threading.Lock()
        self._pinned: dict[Address, bytes] = {}
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def pin(self, member: Address, certificate: bytes) -> None:
        """From now on this (DER) is the member's certificate."""
        with self._lock:
            if self._pinned.get(member) != certificate:
                self._pinned[member] = certificate
                self._contexts.clear()

    def keep(self, members: Collection[Address]) -> None:
        """Forget the certificates of all others."""
        with self._lock:
            gone = self._pinned.keys() - set(members)
            if gone:
                self._pinned = {member: pin for member, pin in self._pinned.items() if member not in gone}
                self._contexts.clear()

    def member_of(self, certificate: bytes | None) -> Address | None:
        """Whose certificate this is, if it is still trusted."""
        with self._lock:
            return next((member for member, pin in self._pinned.items() if pin == certificate), None)

    def context(self, *, server: bool) -> ssl.SSLContext:
        """A context in which both sides have to show a pinned certificate; TLS 1.3."""
        with self._lock:
            if server not in self._contexts:
                self._contexts[server] = self._make(server)
            return self._contexts[server]

    def _make(self, server: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the certificate is the member's, whatever its host is called
        context.verify_mode = ssl.CERT_REQUIRED
        # A pinned certificate is trusted for itself. Without this, OpenSSL looks for who issued it by name, and they all have
        # the same one: only the first would get in.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if server:
            context.num_tickets = 0  # nobody resumes: connections are kept
        with tempfile.NamedTemporaryFile() as file:  # the one way in that ssl has; readable by the owner alone
            file.write(self._chain)
            file.flush()
            context.load_cert_chain(file.name)
        for certificate in self._pinned.values():
            context.load_verify_locations(cadata=certificate)
        return context
