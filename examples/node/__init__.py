"""What an edge device runs."""
