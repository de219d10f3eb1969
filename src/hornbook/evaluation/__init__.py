"""Numbers with their protocol beside them. Layer 5."""
