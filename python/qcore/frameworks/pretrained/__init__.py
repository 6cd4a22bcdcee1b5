"""Folders of a hub, config.json and safetensors, as graphs: one file for each architecture."""
