"""What makes label vectors of label names."""
