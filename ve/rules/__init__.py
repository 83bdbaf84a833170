"""The rules of `ve.transitions`, by who brings them about."""
