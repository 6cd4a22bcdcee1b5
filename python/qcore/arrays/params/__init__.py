"""What chooses scales and zero points: ranges, observers, statistics of inputs."""
