"""One training from data to result.

In: a checked config, the function that makes its task, and who is notified. Out: a run folder. Knows neither which task it trains
nor which loop runs. Open `session.py` first, then `finish.py`.
"""
