"""Serving: models over HTTP as OpenAI's clients speak it, and a page to talk to them. Layer 5."""
