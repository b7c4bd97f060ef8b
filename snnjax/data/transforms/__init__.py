"""What is done to the pixels and events of an example."""
