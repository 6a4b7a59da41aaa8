"""Swarm learning, peer to peer."""
