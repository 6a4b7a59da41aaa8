"""One secp256k1 key is a member: its Ethereum address and its libp2p PeerID both derive from it (DESIGN, section 3)."""

import hashlib
import json
import os
import secrets
from pathlib import Path

from coincurve import PrivateKey, PublicKey
from Crypto.Hash import keccak as _keccak

from swarmp2p.core.errors import ConfigError
from swarmp2p.core.types import Address

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (not SHA3-256): 32 bytes."""
    return _keccak.new(digest_bits=256, data=data).digest()


def address_of(public_key: PublicKey) -> Address:
    """The Ethereum address of a public key: the last 20 bytes of the Keccak-256 of its 64 coordinate bytes."""
    return keccak256(public_key.format(compressed=False)[1:])[12:]


class Key:
    """A member's secret key."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < _ORDER:
            raise ConfigError("This is not a secp256k1 secret key.", "It has to be 32 bytes, 64 hexadecimal digits.")
        self._private = PrivateKey(secret)
        self.address: Address = address_of(self._private.public_key)

    @classmethod
    def generate(cls) -> "Key":
        """A new key from the operating system's randomness."""
        return cls(PrivateKey(secrets.token_bytes(32)).secret)

    @classmethod
    def from_seed(cls, seed: str) -> "Key":
        """A key that anybody who knows the seed can compute: for demonstrations and tests only."""
        return cls(hashlib.sha256(b"swarmp2p test key " + seed.encode()).digest())

    @property
    def secret(self) -> bytes:
        """The 32 secret bytes."""
        return self._private.secret

    @property
    def public(self) -> bytes:
        """The compressed public key, 33 bytes."""
        return self._private.public_key.format(compressed=True)

    def sign(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest: r, s, v (65 bytes), low s, v 27 or 28, as the contract's ECDSA.recover takes it."""
        signature = self._private.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([signature[64] + 27])

    def __repr__(self) -> str:
        return f"Key(0x{self.address.hex()})"


def recover(digest: bytes, signature: bytes) -> Address | None:
    """Who signed a 32-byte digest; None if the signature is malformed or malleable (high s), as OpenZeppelin says."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    if not 0 < int.from_bytes(signature[32:64], "big") <= _ORDER // 2:
        return None
    try:
        public = PublicKey.from_signature_and_message(signature[:64] + bytes([signature[64] - 27]), digest, hasher=None)
    except ValueError:
        return None
    except Exception as error:  # coincurve raises a bare Exception when libsecp256k1 cannot recover
        if type(error) is not Exception:
            raise
        return None
    return address_of(public)


def save_key(key: Key, path: Path, password: str | None = None) -> None:
    """Write a new key file: a 0600 hex file, or with a password a Web3 secret-storage keystore.

    Raises:
        ConfigError: there is a file already; a key is never overwritten.
    """
    if password is None:
        text = key.secret.hex() + "\n"
    else:
        from eth_account import Account  # 0.3 s to import, needed only here

        text = json.dumps(Account.encrypt(key.secret, password))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike rename, refuses to replace a key
    except FileExistsError:
        mend = "Choose another home, or keep using this one."
        raise ConfigError(f"There is a key in {path} already.", mend) from None
    finally:
        temporary.unlink()


def load_key(path: Path, password: str | None = None) -> Key:
    """Read a key file written by `save_key` or by any Ethereum wallet (Web3 secret storage).

    Raises:
        ConfigError: no such file, one that others may read, a wrong password, or not a key.
    """
    try:
        text = path.read_text().strip()
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ConfigError(f"There is no key in {path}.", "Make one with: swarmp2p key new --home <folder>.") from None
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a key file.", "It has to hold 64 hexadecimal digits or a keystore.") from None
    if text.startswith("{"):
        return _load_keystore(path, text, password)
    if mode & 0o077:
        raise ConfigError(f"Others can read the key file {path}.", f"Protect it: chmod 600 {path}.")
    try:
        return Key(bytes.fromhex(text.removeprefix("0x")))
    except ValueError:
        raise ConfigError(f"{path} is not a key file.", "It has to hold 64 hexadecimal digits or a keystore.") from None


def _load_keystore(path: Path, text: str, password: str | None) -> Key:
    if password is None:
        raise ConfigError(f"The keystore {path} has a password.", "Give it in the variable SWARMP2P_PASSWORD.")
    from eth_account import Account

    try:
        return Key(bytes(Account.decrypt(json.loads(text), password)))
    except ValueError as error:
        raise ConfigError(f"The keystore {path} does not open: {error}.", "Check SWARMP2P_PASSWORD.") from None
