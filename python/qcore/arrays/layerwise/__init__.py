"""Better codes for one matrix, judged by what it does to its inputs."""
