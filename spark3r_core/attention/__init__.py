"""How frames see each other: the plan protocol, its dense reference, and the plans that reduce or remember."""
