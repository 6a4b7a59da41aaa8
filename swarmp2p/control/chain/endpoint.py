"""Where a chain that this library runs can be reached."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChainEndpoint:
    """URL and id of a chain that is ready to answer."""

    url: str
    chain_id: int
