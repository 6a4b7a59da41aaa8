"""Following a swarm's models from the contract's head back to the genesis, over chain and content alone (docs/audit.md).

`evidence` is what the chain tells, and `collect` reads it; `check` holds it against the protocol, for which `replay` goes
through the events (members in `roll`, models in `lineage`, signatures in `decisions` and `round_checks`); `recompute` merges
again what content is still held, and `report` is what comes of it. Checks are pure: evidence may come from anywhere.
"""
