"""Reports: runs as one HTML page that needs nothing else. Layer 5.

`read_run` (record.py) reads a run directory, whatever state it is in; `page` (page.py) puts figures (figure.py,
heat_map.py, family.py) and tables (facts.py, settings.py) together; picture.py draws the main figure as PNG.
"""
