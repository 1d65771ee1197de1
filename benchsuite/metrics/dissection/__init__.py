"""Network dissection: which units of a network detect a concept that people can name (Bau et al. 2017)."""
