"""Byte-level BPE and character tokenizers, from scratch. Layer 2: bytes in, arrays of ids out; it writes no shards."""
