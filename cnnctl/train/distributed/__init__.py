"""Trainings on several devices of a machine, or on several machines.

In: a strategy and, for workers, `TF_CONFIG`. Out: the step and the evaluation of all replicas as those of one. Open `replicas.py` first.
"""
