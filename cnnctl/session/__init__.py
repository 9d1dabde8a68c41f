"""One training from data to result.

In: a checked config. Out: a run folder. Knows neither which task it trains nor which loop runs. Open `session.py` first.
"""
