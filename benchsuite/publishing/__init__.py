"""Results files: written, merged and checked."""
