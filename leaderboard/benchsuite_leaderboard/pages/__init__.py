"""Pages as HTML text, rendered from templates."""
