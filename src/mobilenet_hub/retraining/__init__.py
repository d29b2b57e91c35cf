"""A folder of photos becomes a classifier: data -> sides -> features -> head -> weights.

(The room is not called `retrain`, since `hub.retrain` is the function.)
"""
