"""Which width each layer gets under a budget."""
