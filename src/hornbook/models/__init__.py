"""The Transformer. Layer 3.

Dimension letters in shapes: b batch, t tokens, s keys, h heads, k kv heads, e head_dim, d d_model, f d_ff, v vocab.
"""
