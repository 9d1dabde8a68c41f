"""All that only few-shot tasks need: episodes, methods, their evaluation, and Lake's one-shot challenge.

In: an `Experiment` with `task: few_shot`, or a trained run of one. Out: a `Task` for `session`, and accuracies over episodes. Open `task.py`
first, then `methods.py`.
"""
