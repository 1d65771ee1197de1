"""Pictures and tables of results for people to look at. No result depends on this code."""
