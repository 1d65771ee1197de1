"""Pictures and tables of results for people to look at. Nothing here decides a number."""
