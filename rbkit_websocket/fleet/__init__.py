"""Which servers an application has: their records, whether they live, the token that they share."""
