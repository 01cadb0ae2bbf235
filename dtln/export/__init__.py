"""Exports of the network, and the check that each has to pass."""
