"""Which weights of one matrix may go."""
