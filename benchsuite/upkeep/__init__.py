"""What of a run directory is damaged, left over or can be made again, and how that is mended or freed."""
