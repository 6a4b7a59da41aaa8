"""The embedded chain: a London EVM behind JSON-RPC, one process, for trying out and for tests.

It is a single point of failure and its money is play money: a swarm that matters runs on a chain of several validators.
"""
