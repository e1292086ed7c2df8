"""From a lock to ordered layers, each with a script, inputs and a content key."""
