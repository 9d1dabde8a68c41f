"""Search over values of a config.

In: a config with a section `sweep`. Out: a folder of trained trials, the best of them repeated with other seeds, and Optuna's database.
`scheduler` decides what is trained next, `trial_runner` trains it. Open `scheduler.py` first.
"""
