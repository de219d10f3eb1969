"""Is the code of a masked diffusion language model exact? Loss, likelihood, sampler and caches against enumeration.

Every test asks an `Adapter` (adapter.py) for an answer and compares it with an oracle that knows nothing of the project
(toys.py, oracles.py: a model of three tokens whose every conditional is in a table, all masks, all orders, all texts).
To run the suite on other code, write an adapter for it and name it:

    DIFFUSION_EXACTNESS=my_package.my_adapter:MyAdapter python -m pytest diffusion_exactness

A method of the adapter may call pytest.skip("...") for what a project does not have, such as a cache.
It needs numpy, torch (for the incomplete gamma function, and as the adapter's currency) and pytest.
"""
