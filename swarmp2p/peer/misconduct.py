"""Keeps what proves that a member signed two things of which one must be false: for `swarmp2p prove`.

The proof costs that member its stake, whoever brings it and whenever; a person decides to.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from swarmp2p.core.contradiction import contradicted_slice, find_contradiction
from swarmp2p.core.errors import ConfigError, MessageRefused
from swarmp2p.core.messages import Hint, Objection, Signed
from swarmp2p.core.store import RoundStore
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import Address
from swarmp2p.identity import keccak256, recover
from swarmp2p.network.wire import decode_message, encode_signed

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Proof:
    """Two messages of one signer that contradict each other in a slice."""

    one: Signed
    other: Signed
    slice: int

    def save(self, folder: Path) -> Path:
        """Write it down, once a member and round."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"0x{self.one.signer.hex()}-{self.one.body.round}.json"
        messages = [encode_signed(each.body, each.signature).hex() for each in (self.one, self.other)]
        if not path.exists():
            path.write_text(json.dumps({"version": 1, "messages": messages}) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path, domain: bytes) -> "Proof":
        """Read a file back, and check that it proves something in the swarm of this domain.

        Raises:
            ConfigError: it does not.
        """
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            one, other = (_signed(bytes.fromhex(text), domain) for text in body["messages"])
        except (OSError, ValueError, KeyError, TypeError, MessageRefused) as error:
            raise ConfigError(f"{path} is no evidence: {error}.", "Use a file that a peer has written.") from None
        slice_ = contradicted_slice(one.body, other.body)
        if slice_ is None or one.signer != other.signer:
            raise ConfigError(
                f"{path} proves nothing in this swarm.", "Use the swarm.toml of the swarm that it is about."
            )
        return cls(one, other, slice_)


def _signed(data: bytes, domain: bytes) -> Signed:
    message = decode_message(data)
    if isinstance(message, Hint):
        raise ValueError("a hint is not signed")
    body, signature = message
    signer: Address | None = recover(signing_digest(body, domain, keccak256), signature)
    if signer is None:
        raise ValueError("a signature is damaged")
    return Signed(body, signer, signature)


def keep_proof(current: RoundStore, message: Signed, folder: Path) -> Proof | None:
    """If a verified message contradicts an earlier one by its signer: write both down."""
    if isinstance(message.body, Objection):
        return None
    found = find_contradiction(current.said(message.signer, message.body.excluded), message)
    if found is None:
        return None
    earlier, slice_ = found
    proof = Proof(earlier, message, slice_)
    try:
        path = proof.save(folder)
    except OSError as error:
        _log.warning("a contradiction by 0x%s could not be written down: %s", message.signer.hex(), error)
    else:
        _log.warning("0x%s signed a contradiction: %s", message.signer.hex(), path)
    return proof
