"""Everything that depends on the kind of device or processor."""
