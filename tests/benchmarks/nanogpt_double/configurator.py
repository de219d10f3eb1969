"""A stand-in for nanoGPT's configurator.py: files and --key=value assign to what is there already."""

import sys
from ast import literal_eval

for argument in sys.argv[1:]:
    if argument.startswith("--"):
        key, value = argument[2:].split("=")
        assert key in globals(), key
        try:
            globals()[key] = literal_eval(value)
        except (SyntaxError, ValueError):
            globals()[key] = value
    else:
        exec(open(argument).read())
