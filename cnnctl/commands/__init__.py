"""What each verb does, a module a verb: load, call one package, print.

In: the options that `cli` read. Out: a result on stdout. Open `train.py` first.
"""
