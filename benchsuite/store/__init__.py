"""The run directory: records, stages and files, whole or not at all."""
