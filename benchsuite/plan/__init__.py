"""From a suite to its trials with content keys."""
