"""Servers of an application: their records, whether they live, the token that they share."""
