"""Where jobs run, and what is told of them meanwhile."""
