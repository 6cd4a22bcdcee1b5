"""Products: exact on integers, and dense layers on compressed weights."""
