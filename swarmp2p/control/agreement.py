"""The founders' agreement: each signs the manifest's CID before the contract is deployed (docs/protocol.md, section 2).

The text is signed as wallets sign messages (EIP-191, version 0x45), so a founder's key may stay in a hardware wallet. The
signatures travel in the manifest; whoever is invited sees that all founders agreed to exactly these terms.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from swarmp2p.control.manifest import Manifest
from swarmp2p.core.errors import AgreementMissing
from swarmp2p.core.types import Address
from swarmp2p.identity import Key, keccak256, recover

MAX_FILE = 4096
_AGAIN = "Ask that founder to sign again: `swarmp2p agree`."


@dataclass(frozen=True, slots=True)
class Agreement:
    """One founder's signature, as a file to send to whoever deploys the contract."""

    manifest: str
    """CID of the manifest that was signed."""
    signature: bytes

    def save(self, path: Path) -> None:
        """Write as JSON."""
        body = {"version": 1, "manifest": self.manifest, "signature": "0x" + self.signature.hex()}
        path.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Agreement":
        """Read a file. Raises AgreementMissing if it is not one."""
        try:
            data = path.read_bytes()
            if len(data) > MAX_FILE:
                raise ValueError("it is too long")
            body = json.loads(data)
            if not isinstance(body, dict) or body.get("version") != 1 or not isinstance(body["manifest"], str):
                raise ValueError("it is of no version that this release knows")
            return cls(body["manifest"], bytes.fromhex(body["signature"].removeprefix("0x")))
        except OSError as error:
            raise AgreementMissing(f"{path} cannot be read: {error.strerror}.", "Give the file's right path.") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise AgreementMissing(f"{path} is not a founder's agreement: {error}.", _AGAIN) from None


def text_of(manifest: Manifest) -> str:
    """What a founder signs."""
    return f"I found the swarm {manifest.name!r} on the terms of its manifest {manifest.cid}."


def agree(manifest: Manifest, key: Key) -> Agreement:
    """A founder's signature. `manifest` has its genesis; it may be a draft otherwise."""
    return Agreement(str(manifest.cid), key.sign(_digest(manifest)))


def with_agreements(manifest: Manifest, agreements: Iterable[Agreement]) -> Manifest:
    """The manifest with these signatures.

    Raises:
        AgreementMissing: one is of another manifest, or of nobody among the founders.
    """
    signatures = list(manifest.agreement)
    for agreement in agreements:
        if agreement.manifest != str(manifest.cid):
            raise AgreementMissing(
                f"A founder agreed to the manifest {agreement.manifest}, and this one is {manifest.cid}.",
                "Something differs, the genesis perhaps: compare the drafts, and have the right one signed.",
            )
        if recover(_digest(manifest), agreement.signature) not in manifest.founders:
            raise AgreementMissing("An agreement is not signed by a founder of this manifest.", _AGAIN)
        if agreement.signature not in signatures:
            signatures.append(agreement.signature)
    return replace(manifest, agreement=tuple(signatures))


def missing_founders(manifest: Manifest) -> tuple[Address, ...]:
    """Founders who have not signed, in the manifest's order."""
    digest = _digest(manifest)
    signed = {recover(digest, signature) for signature in manifest.agreement}
    return tuple(founder for founder in manifest.founders if founder not in signed)


def require_agreement(manifest: Manifest, name: str = "swarm.toml") -> None:
    """Refuse a manifest that not all its founders signed.

    Raises:
        AgreementMissing: naming those that are missing.
    """
    missing = missing_founders(manifest)
    if missing:
        raise AgreementMissing(
            f"{name}: not signed by the founder{'s' * (len(missing) > 1)} "
            f"{', '.join('0x' + founder.hex() for founder in missing)}.",
            "Each founder signs with `swarmp2p agree`; `swarmp2p found --agreement` takes the files.",
        )


def _digest(manifest: Manifest) -> bytes:
    text = text_of(manifest).encode()
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(text)).encode() + text)
