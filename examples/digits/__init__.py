"""Peers that each know only some of the ten digits, and a swarm of them that knows all."""
