"""Blocks that generators share."""
