"""What several people sign, as a file to hand around: an invitation or a ballot (docs/protocol.md, section 7)."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar

from swarmp2p.core.errors import SwarmError
from swarmp2p.core.messages import Invite, Vote
from swarmp2p.core.typed import signing_digest
from swarmp2p.core.types import Address
from swarmp2p.identity import Key, keccak256, recover

MAX_FILE = 64 * 1024
MAX_SIGNATURES = 256
_YEAR_10000 = 253_402_300_800

Body = TypeVar("Body", Invite, Vote)
Read: TypeAlias = Callable[[Any], Any]
"""A JSON value to ours. Raises ValueError saying what the value has to be."""


def number(bits: int) -> Read:
    """A whole number of at most so many bits."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
            raise ValueError(f"has to be a whole number of at most {bits} bits")
        return value

    return read


def hexadecimal(length: int) -> Read:
    """So many bytes, as 0x and hexadecimal digits."""

    def read(value: Any) -> bytes:
        if not isinstance(value, str) or len(value) != 2 + 2 * length or not value.startswith("0x"):
            raise ValueError(f"has to be 0x and {2 * length} hexadecimal digits")
        return bytes.fromhex(value[2:])

    return read


def moment(unix: int) -> str:
    """A time as people write it."""
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M} UTC" if unix < _YEAR_10000 else "the end of time"


@dataclass(frozen=True, slots=True)
class Paper(Generic[Body]):
    """A body with its signatures, for one contract on one chain. A subclass says what the body is."""

    NAME: ClassVar[str]
    """What it is, with its article."""
    KIND: ClassVar[str]
    """Key of the body in the file."""
    FIELDS: ClassVar[Mapping[str, Read]]
    """The body's fields."""
    MAKE: ClassVar[Callable[..., Any]]
    REFUSED: ClassVar[type[SwarmError]]
    MEND: ClassVar[str]

    chain_id: int
    contract: Address
    body: Body
    signatures: tuple[bytes, ...] = ()

    def signed(self, key: Key, domain: bytes) -> Self:
        """With one more signature. `domain` is the contract's EIP-712 domain separator."""
        signature = key.sign(signing_digest(self.body, domain, keccak256))
        return replace(self, signatures=(*self.signatures, signature))

    def signers(self, domain: bytes) -> list[Address | None]:
        """Who signed, in order; None for a signature that nobody made."""
        digest = signing_digest(self.body, domain, keccak256)
        return [recover(digest, signature) for signature in self.signatures]

    def by_signer(self, domain: bytes) -> dict[Address, bytes]:
        """Each signer's signature.

        Raises:
            The paper's refusal: a signature is forged or damaged.
        """
        found: dict[Address, bytes] = {}
        for signer, signature in zip(self.signers(domain), self.signatures, strict=True):
            if signer is None:
                raise self.REFUSED(f"A signature of {self.NAME} is forged or damaged.", self.MEND)
            found[signer] = signature
        return found

    def with_signatures(self, signatures: Iterable[bytes]) -> Self:
        """With those that it lacks.

        Raises:
            The paper's refusal: those are more than a file may have.
        """
        joined = tuple(dict.fromkeys((*self.signatures, *signatures)))
        if len(joined) > MAX_SIGNATURES:
            raise self.REFUSED(f"{len(joined)} signatures are more than {self.NAME} may have.", self.MEND)
        return replace(self, signatures=joined)

    def to_json(self) -> str:
        """The file's text."""
        body = {name: _shown(getattr(self.body, name)) for name in self.FIELDS}
        whole = {
            "version": 1,
            "chain_id": self.chain_id,
            "contract": _shown(self.contract),
            self.KIND: body,
            "signatures": [_shown(signature) for signature in self.signatures],
        }
        return json.dumps(whole, indent=2) + "\n"

    def save(self, path: Path) -> None:
        """Write as JSON: whole or not at all."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_text(self.to_json(), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise self.REFUSED(f"{path} cannot be written: {error.strerror}.", "Choose another place.") from None
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file. Raises the paper's refusal if it is not one."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise cls.REFUSED(f"{path} cannot be read: {error.strerror}.", "Give the file's right path.") from None
        return cls.from_json(data, str(path))

    @classmethod
    def from_json(cls, data: bytes | str, name: str = "") -> Self:
        """Parse a file's content. Raises the paper's refusal."""
        try:
            if len(data) > MAX_FILE:
                raise ValueError("it is too long")
            return cls._parse(json.loads(data))
        except (ValueError, TypeError, RecursionError) as error:
            raise cls.REFUSED(f"{name or 'This'} is not {cls.NAME}: {error}.", cls.MEND) from None

    @classmethod
    def _parse(cls, whole: Any) -> Self:
        if not isinstance(whole, dict) or whole.get("version") != 1 or isinstance(whole.get("version"), bool):
            raise ValueError("it is of no version that this release knows")
        if set(whole) != {"version", "chain_id", "contract", cls.KIND, "signatures"}:
            raise ValueError("it has missing or unknown keys")
        body, signatures = whole[cls.KIND], whole["signatures"]
        if not isinstance(body, dict) or set(body) != set(cls.FIELDS):
            raise ValueError(f"the {cls.KIND} has missing or unknown keys")
        if not isinstance(signatures, list) or len(signatures) > MAX_SIGNATURES:
            raise ValueError("signatures has to be a list")
        return cls(
            chain_id=_field("chain_id", number(256), whole["chain_id"]),
            contract=_field("contract", hexadecimal(20), whole["contract"]),
            body=cls.MAKE(**{name: _field(name, read, body[name]) for name, read in cls.FIELDS.items()}),
            signatures=tuple(_field("a signature", hexadecimal(65), signature) for signature in signatures),
        )


def _field(name: str, read: Read, value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _shown(value: Any) -> Any:
    return "0x" + value.hex() if isinstance(value, bytes) else int(value)
