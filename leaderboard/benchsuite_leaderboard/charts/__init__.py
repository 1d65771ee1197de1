"""Charts as static SVG that takes its colours from the page."""
