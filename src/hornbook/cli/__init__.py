"""One file a verb; `main` maps names to modules. Layer 8."""
