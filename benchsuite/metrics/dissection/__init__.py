"""Network dissection: which units of a network detect a concept with a name (Bau et al. 2017)."""
