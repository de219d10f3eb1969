"""Names and layouts of other systems, as tables. Layer 5."""
