"""Processes and run folders. Knows no units, no agents and no stream."""
