"""The verb `rehearse` and what it plays with: the real step, twice, on this computer alone.

A package of its own because none of it is in the action's container. `rehearse` is the story, `example` the
repository, the event and the model's scripts.
"""
