"""Reads lists of events and prints them."""
