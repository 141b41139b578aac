"""The simulated lab: a bench built from a twin that no other part of rlco may read.

Nothing outside this package imports it, except the two nodes that run it and its operator; and
nothing outside it reads a hidden twin or imports the trainer.
"""
