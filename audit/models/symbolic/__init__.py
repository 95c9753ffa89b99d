"""Logic beside networks: what clauses may ask, proofs, and formulas as losses."""
