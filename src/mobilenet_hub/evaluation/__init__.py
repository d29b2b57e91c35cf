"""How good a classifier is: predictions of photos whose classes are known, measured and shown.

`predictions` makes them, `metrics` and its neighbours are functions of arrays, `report` draws the
page. What trains a classifier hands its own predictions to the same functions.

(The room is not called `evaluate`, since `hub.evaluate` is the function.)
"""
