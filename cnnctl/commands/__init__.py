"""One module per verb: load the config or run, call one package, print.

In: the options that `cli` read. Out: a result on stdout. Open `train.py` first.
"""
