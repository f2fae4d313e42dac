"""Worlds in virtual time, and who asks in them."""
