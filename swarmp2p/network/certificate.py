"""TLS certificates bound to a member's key (libp2p specs, tls): a key of its own, signed by the member's in an extension."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from libp2p.security.tls.certificate import create_cert_template, generate_certificate, verify_certificate_chain

from swarmp2p.core.types import Address
from swarmp2p.network.peer_ids import address_of_peer, key_pair_of, peer_id_of


def issue_certificate(secret: bytes) -> tuple[bytes, bytes]:
    """A new certificate of the member with this 32-byte secret key: DER, and PEM of it with its own private key."""
    certificate, key = generate_certificate(key_pair_of(secret).private_key, create_cert_template())
    return x509.load_pem_x509_certificate(certificate.encode()).public_bytes(Encoding.DER), (certificate + key).encode()


def certified_member(der: bytes) -> Address | None:
    """Whose certificate this is, signatures checked; None: it is none of a member's."""
    try:
        public = verify_certificate_chain([x509.load_der_x509_certificate(der)])
        return address_of_peer(peer_id_of(public.to_bytes()))
    except Exception:  # what strangers wrote is parsed here, by two libraries with many kinds of errors
        return None
