"""What attention is made of, as graphs spell it: scores, heads, batches."""
