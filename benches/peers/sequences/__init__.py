"""Text, speech and embeddings beside other runtimes, one thread, in one process."""
