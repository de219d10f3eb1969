"""Sources, shards, preparation, order, windows and loading: from documents to TokenBatch. Layer 3."""
