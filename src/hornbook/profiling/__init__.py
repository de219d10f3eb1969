"""What this device does well. Layer 3."""
