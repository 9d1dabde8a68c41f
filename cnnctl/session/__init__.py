"""One training from data to result.

In: a checked config, the function that makes its task, and the observer of a sweep, if any. Out: a run folder. `session.py` knows
neither the task nor the loop; `classification.py` is the task of plain trainings. Open `session.py` first, then `finish.py`.
"""
