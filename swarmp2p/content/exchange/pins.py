"""Whom TLS connections are made with: certificates that members showed over the authenticated network, and no others.

Each side learns the other's certificate beforehand (`Endpoint`), and the handshake refuses all others.
"""

import socket
import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from swarmp2p.content.exchange.secure import SecureSocket
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
        self._certificate = x509.load_pem_x509_certificate(chain)
        self._key: Any = load_pem_private_key(chain, None)
        self._lock = threading.Lock()
        self._pinned: dict[Address, bytes] = {}
        self._contexts: dict[bool, SSL.Context] = {}

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

    def secure(self, raw: socket.socket, *, server: bool, timeout: float) -> SecureSocket:
        """TLS 1.3 over this connection, if both sides show a pinned certificate; raises as `SecureSocket` does.

        Args:
            timeout: seconds that the handshake may take.
        """
        with self._lock:
            if server not in self._contexts:
                self._contexts[server] = self._make(server)
            context = self._contexts[server]
        return SecureSocket(raw, context, server=server, timeout=timeout)

    def _make(self, server: bool) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        context.set_options(SSL.OP_IGNORE_UNEXPECTED_EOF)  # what is said has a length
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # nobody resumes: connections are kept
        context.clear_mode(Binding.lib.SSL_MODE_ENABLE_PARTIAL_WRITE)  # pyOpenSSL's default: a call a record
        context.use_certificate(self._certificate)
        context.use_privatekey(self._key)
        store = context.get_cert_store()
        assert store is not None  # an own context has one
        # A pinned certificate is trusted for itself. Without this, OpenSSL looks for who issued it by name, and they all have
        # the same one: only the first would get in.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        for certificate in self._pinned.values():
            store.add_cert(crypto.X509.from_cryptography(x509.load_der_x509_certificate(certificate)))
        return context
