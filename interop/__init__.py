"""Suites against real programs: anvil, and an IPFS node where one is installed."""
