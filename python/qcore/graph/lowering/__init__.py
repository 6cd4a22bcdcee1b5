"""From a graph to what the extension compiles: attention found, weights laid out."""
