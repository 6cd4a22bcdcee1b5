"""Models of other frameworks, by their users' own objects: one file for each framework."""
