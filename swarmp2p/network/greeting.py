"""How two members tell each other where their TLS listeners are, and by which certificates they know each other there.

Over a stream, so that each knows who the other is. The one who opens it speaks first; then the other answers alike:

    length[2]   dag-cbor [certificate (DER), [multiaddr, …]]        multiaddrs like /ip4/192.0.2.7/tcp/4002/tls/http

No multiaddr: there is no listener. The certificate is bound to the member's key (libp2p specs, tls).
"""

from collections.abc import Sequence
from typing import Any

import dag_cbor
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from swarmp2p.core.errors import MessageRefused
from swarmp2p.core.types import Address
from swarmp2p.network.certificate import certified_member
from swarmp2p.network.interface import PREFIX, Stream

GREETING_PROTOCOL = f"{PREFIX}/tls"
MAX_GREETING = 4096
MAX_ADDRESSES = 8

Greeting = tuple[bytes, tuple[tuple[str, int], ...]]
"""Certificate in DER, and hosts with ports."""


def encode_greeting(certificate: bytes, addresses: Sequence[tuple[str, int]]) -> bytes:
    """A greeting, with its length."""
    shown = [f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}/tls/http" for host, port in addresses]
    data = dag_cbor.encode([certificate, [*shown[:MAX_ADDRESSES]]])
    return len(data).to_bytes(2, "big") + data


def decode_greeting(data: bytes, sender: Address) -> Greeting:
    """A greeting, without its length. Raises MessageRefused when it is malformed, or the certificate not the sender's."""
    try:
        decoded: Any = dag_cbor.decode(data)
        certificate, shown = decoded
        addresses = tuple(_address(each) for each in shown[:MAX_ADDRESSES])
    except Exception as error:  # dag-cbor and multiaddr raise many kinds at what strangers write
        raise MessageRefused(f"a malformed greeting ({type(error).__name__})") from error
    if not isinstance(certificate, bytes) or certified_member(certificate) != sender:
        raise MessageRefused("a greeting with a certificate that is not the sender's")
    return certificate, addresses


def _address(text: object) -> tuple[str, int]:
    address = Multiaddr(str(text))
    names = [protocol.name for protocol in address.protocols()]
    if names not in (["ip4", "tcp", "tls", "http"], ["ip6", "tcp", "tls", "http"]):
        raise MultiaddrError(f"{address} is not where a TLS listener can be")
    return str(address.value_for_protocol(names[0])), int(str(address.value_for_protocol("tcp")))


async def send_greeting(stream: Stream, greeting: Greeting) -> None:
    """Say where we are. Raises as the stream does."""
    await stream.send_all(encode_greeting(*greeting))


async def receive_greeting(stream: Stream, sender: Address) -> Greeting:
    """Hear where the other is. Raises MessageRefused, and as the stream does."""
    data = bytearray()
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
        if len(data) >= 2 and int.from_bytes(data[:2], "big") > MAX_GREETING:
            raise MessageRefused("a greeting that is too long")
        more = await stream.receive_some(MAX_GREETING)
        if not more:
            raise MessageRefused("half a greeting")
        data += more
    return decode_greeting(bytes(data[2:]), sender)
