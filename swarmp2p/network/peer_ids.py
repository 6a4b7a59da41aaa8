"""Between libp2p PeerIDs and member addresses: a secp256k1 PeerID inlines the public key (DESIGN, section 3)."""

from functools import lru_cache

from coincurve import PublicKey
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.secp256k1 import Secp256k1PrivateKey, Secp256k1PublicKey
from libp2p.peer.id import ID

from swarmp2p.core.types import Address
from swarmp2p.identity import address_of

_PREFIX = b"\x00\x25\x08\x02\x12\x21"
"""identity multihash of 37 bytes: protobuf PublicKey{type = Secp256k1, data = 33 bytes} (libp2p peer-ids spec)."""


def peer_id_of(public_key: bytes) -> ID:
    """The PeerID of a compressed secp256k1 public key (33 bytes)."""
    return ID(_PREFIX + Secp256k1PublicKey.from_bytes(public_key).to_bytes())


def address_of_peer(peer_id: ID) -> Address | None:
    """The member address of a PeerID; None for one of another kind of key, which no member can have."""
    return _address_in(peer_id.to_bytes())


@lru_cache(maxsize=1024)  # whoever asks who is connected asks for all of them each time
def _address_in(data: bytes) -> Address | None:
    if len(data) != len(_PREFIX) + 33 or not data.startswith(_PREFIX):
        return None
    try:
        return address_of(PublicKey(data[len(_PREFIX) :]))
    except ValueError:
        return None


def key_pair_of(secret: bytes) -> KeyPair:
    """libp2p's form of a 32-byte secret key."""
    private = Secp256k1PrivateKey.from_bytes(secret)
    return KeyPair(private, private.get_public_key())
