"""The hooks of plugins, their discovery, and the registry of what they offer."""
