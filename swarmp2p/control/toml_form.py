"""A strict reader for small TOML files: every key has a form, unknown keys are errors, and errors name the place."""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from swarmp2p.core.errors import ConfigError

Parse: TypeAlias = Callable[[Any], Any]
"""A TOML value to ours. Raises ValueError saying what the value has to be: "has to be ..."."""


@dataclass(frozen=True, slots=True)
class Key:
    """Form of one key. Without a default it has to be there; `optional` keys that are not are None."""

    parse: Parse
    default: Any = None
    optional: bool = False


Form: TypeAlias = Mapping[str, Mapping[str, Key]]
"""Keys by section; "" is the top of the file."""


def read_toml(path: Path, form: Form, start_with: str) -> dict[str, dict[str, Any]]:
    """The values of a file, by section and key, defaults filled in.

    Args:
        start_with: what to tell somebody whose file is not there.

    Raises:
        ConfigError: no such file, no TOML, or a key that is unknown, missing or has a wrong value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", start_with) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file in UTF-8.", start_with) from None
    return parse_toml(text, form, str(path))


def parse_toml(text: str, form: Form, name: str) -> dict[str, dict[str, Any]]:
    """The values in a text; as `read_toml`."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{name} is not valid TOML: {error}.", "Correct that line.") from None
    _no_unknown(document, [*form[""], *(section for section in form if section)], name, "")
    values: dict[str, dict[str, Any]] = {}
    for section, keys in form.items():
        table = document if not section else document.get(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{name}: {section} has to be a table.", f"Write it as [{section}].")
        if section:
            _no_unknown(table, list(keys), name, section)
        values[section] = {key: _value(table, section, key, form_, name) for key, form_ in keys.items()}
    return values


def _no_unknown(table: Mapping[str, Any], known: list[str], name: str, section: str) -> None:
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            mend = f"Did you mean {close[0]}?" if close else f"Known are: {', '.join(known)}."
            raise ConfigError(f"{name}: there is no key {_place(section, key)}.", mend)


def _value(table: Mapping[str, Any], section: str, key: str, form: Key, name: str) -> Any:
    if key not in table:
        if form.default is None and not form.optional:
            raise ConfigError(f"{name}: the key {_place(section, key)} is missing.", "Add it.")
        return form.default
    try:
        return form.parse(table[key])
    except ValueError as error:
        raise ConfigError(f"{name}: {_place(section, key)} = {table[key]!r} {error}.", "Correct the value.") from None


def _place(section: str, key: str) -> str:
    return f"[{section}] {key}" if section else key


# ---- forms of values


def text(longest: int) -> Parse:
    """A string that is not empty."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > longest:
            raise ValueError(f"has to be a text of 1 to {longest} characters")
        return value

    return parse


def integer(least: int, most: int) -> Parse:
    """A whole number within bounds, both included."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"has to be a whole number from {least} to {most}")
        return value

    return parse


def number(least: float, most: float) -> Parse:
    """A finite number within bounds, both included."""

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ValueError(f"has to be a number from {least:g} to {most:g}")
        return float(value)

    return parse


def one_of(*words: str) -> Parse:
    """One of a few words."""

    def parse(value: Any) -> str:
        if value not in words or not isinstance(value, str):
            raise ValueError(f"has to be one of {', '.join(words)}")
        return value

    return parse


def list_of(entry: Parse, most: int, *, least: int = 0) -> Parse:
    """A list without duplicates; parsed to a tuple."""

    def parse(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise ValueError(f"has to be a list of {least} to {most} entries")
        try:
            entries = tuple(entry(item) for item in value)
        except ValueError as error:
            raise ValueError(f"has an entry that {error}") from None
        if len(set(entries)) != len(entries):
            raise ValueError("names something twice")
        return entries

    return parse


def hex_bytes(length: int, what: str) -> Parse:
    """0x and the digits of so many bytes."""

    def parse(value: Any) -> bytes:
        if not isinstance(value, str) or not re.fullmatch(f"0x[0-9a-fA-F]{{{2 * length}}}", value):
            raise ValueError(f"has to be {what}: 0x and {2 * length} hexadecimal digits")
        return bytes.fromhex(value[2:])

    return parse


def url(value: Any) -> str:
    """http or https."""
    if not isinstance(value, str) or not re.fullmatch(r"https?://\S+", value):
        raise ValueError("has to be a URL with http:// or https://")
    return value


def multiaddr(value: Any) -> str:
    """The shape only: the network layer knows which it can dial."""
    if not isinstance(value, str) or not re.fullmatch(r"(/[^/\s]+)+", value):
        raise ValueError("has to be a multiaddr, such as /ip4/192.0.2.7/tcp/4001/p2p/16Uiu2...")
    return value


def quoted(value: str) -> str:
    """A string as TOML writes it, on one line."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    out = "".join(
        escapes.get(char) or (f"\\u{ord(char):04x}" if ord(char) < 32 or ord(char) == 127 else char) for char in value
    )
    return f'"{out}"'
